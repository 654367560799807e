"""How far a document has come where each of several Managers counts generations of its own."""

import pytest

from core.errors import MeshError, Unavailable
from core.manager.status import Applied, MeshStatus, Progress, ProxyStatus
from core.model.config import ConfigKey
from core.model.service import WorkloadKey
from istioctl import reach
from istioctl.reach import Reach, reaches, wait

RULE = ConfigKey("networking.istio.io", "VirtualService", "default", "web")


def proxy(name: str, manager: int, generation: int) -> ProxyStatus:
    key = WorkloadKey("default", name)
    return ProxyStatus(workload=key, node="", connected_since=0, manager=manager, generation=generation)


def applied(manager: int, generation: int, revision: str = "7") -> Applied:
    return Applied(document=RULE, revision=revision, generation=generation, manager=manager)


def states(
    *documents: Applied, proxies: tuple[ProxyStatus, ...], silent: tuple[int, ...] = ()
) -> tuple[dict[str, str], bool]:
    progress = Progress(generation=9, documents=documents)
    status = MeshStatus(proxies=proxies, progress=progress, managers=(1, 2), silent=silent)
    (found,) = reaches(status, {RULE: "7"})
    return {each.workload: each.state for each in found.proxies}, found.acknowledged


def test_a_proxy_is_compared_with_the_manager_that_it_is_at() -> None:
    """Generation 3 is enough at the one Manager, and 3 is too old at the other."""
    found = states(applied(1, 3), applied(2, 8), proxies=(proxy("a", 1, 3), proxy("b", 2, 3)))
    assert found == ({"a.default": "ACKNOWLEDGED", "b.default": "WAITING"}, False)


def test_a_document_has_arrived_when_every_manager_has_it() -> None:
    """Before that a proxy could move to one that does not."""
    proxies = (proxy("a", 1, 3),)
    assert states(applied(1, 3), applied(2, 8), proxies=proxies)[1]
    assert not states(applied(1, 3), applied(2, 8, revision="6"), proxies=proxies)[1]
    assert not states(applied(1, 3), proxies=proxies)[1]


def test_nobody_knows_of_the_proxies_at_a_manager_that_hangs() -> None:
    """So a document has not arrived, whatever the others say."""
    assert not states(applied(1, 3), applied(2, 8), proxies=(proxy("a", 1, 3),), silent=(3,))[1]


def here(*absent: str, acknowledged: bool = True) -> tuple[Reach, ...]:
    proxies = (proxy("a", 1, 3 if acknowledged else 2),)
    keys = tuple(WorkloadKey("default", name) for name in absent)
    status = MeshStatus(proxies=proxies, progress=Progress(documents=(applied(1, 3),)), absent=keys)
    return reaches(status, {RULE: "7"})


def test_who_is_not_connected_is_waited_for_while_it_may_be_changing_the_manager(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And not longer: it is told of instead."""
    looks = iter([here("b", "c"), here("b"), here()])
    assert wait(lambda: next(looks), seconds=5) == here()
    monkeypatch.setattr(reach, "GRACE", 0.1)
    assert wait(lambda: here("b"), seconds=5)[0].absent == ("b.default",)
    monkeypatch.setattr(reach, "GRACE", 100)
    assert wait(lambda: here("b"), seconds=0.1)[0].absent == ("b.default",)


def test_a_manager_that_is_started_again_is_waited_for() -> None:
    """As long as the wait may take."""
    answers = [(), (), here()]

    def look() -> tuple[Reach, ...]:
        if found := answers.pop(0) if answers else ():
            return found
        raise Unavailable("gone")

    assert wait(look, seconds=5) == here()
    with pytest.raises(MeshError, match=r"is stored, but how far it came in 0\.1 s is not known: gone"):
        wait(look, seconds=0.1)
