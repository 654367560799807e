"""How far a document has come where each of several Managers counts generations of its own."""

from core.manager.status import Applied, MeshStatus, Progress, ProxyStatus
from core.model.config import ConfigKey
from core.model.service import WorkloadKey
from istioctl.reach import reaches

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
