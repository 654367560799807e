"""What several Managers say together, where their places are, and how long a document's good version is known."""

import math
import socket
from pathlib import Path

import pytest

from core.errors import Misconfigured
from core.manager.api.server import bound, shared
from core.manager.paths import home, homes, numbered
from core.manager.peers import LEFT_WITHIN, Peers, merged
from core.manager.proved import Proved
from core.manager.settings import Settings
from core.manager.status import Applied, Held, MeshStatus, Progress, ProxyStatus, Refusal
from core.model.config import ConfigKey
from core.model.service import WorkloadKey

RULE = ConfigKey("networking.istio.io", "VirtualService", "default", "web")
A, B = WorkloadKey("default", "a"), WorkloadKey("default", "b")


def proxy(key: WorkloadKey, since: float, generation: int = 1) -> ProxyStatus:
    return ProxyStatus(workload=key, node="", connected_since=since, generation=generation)


def held(reason: str) -> Held:
    return Held(document=RULE, workload=A, refusal=Refusal(type="CDS", resource="web", reason=reason))


def applied(generation: int) -> Applied:
    return Applied(document=RULE, revision="7", generation=generation)


def test_the_first_manager_is_at_home_in_the_state_directory(tmp_path: Path) -> None:
    """So one alone has its sockets where they always were, and others a place each; numbers are sorted as such."""
    assert Settings(state=tmp_path).home == tmp_path
    assert homes(tmp_path) == (tmp_path,)
    for number in (10, 2):
        home(tmp_path, number).mkdir(parents=True)
    (tmp_path / "managers" / "other").mkdir()
    assert [numbered(tmp_path, each) for each in homes(tmp_path)] == [1, 2, 10]
    assert Settings(state=tmp_path, number=2).home == tmp_path / "managers" / "2"


def test_the_sockets_of_the_last_manager_are_not_the_longest(tmp_path: Path) -> None:
    """Whoever has room for Envoy's admin socket has room for all of them (unix(7): 107 bytes)."""
    longest = tmp_path / "proxies" / ("x" * 40) / "admin.sock"
    assert len(str(home(tmp_path, 999) / "xds" / ("x" * 40))) <= len(str(longest))


def test_a_proxy_that_moves_is_shown_once_where_it_came_to_last() -> None:
    old = MeshStatus(proxies=(proxy(A, 10), proxy(B, 11)))
    new = MeshStatus(proxies=(proxy(A, 20),))
    found = merged({1: old, 2: new})
    assert [(each.workload, each.manager) for each in found.proxies] == [(A, 2), (B, 1)]
    assert found.managers == (1, 2)


def test_a_document_is_held_once_and_in_force_by_each_ones_own_count() -> None:
    one = MeshStatus(proxies=(), held=(held("no"),), progress=Progress(generation=5, documents=(applied(4),)))
    two = MeshStatus(
        proxies=(), held=(held("no"),), progress=Progress(generation=9, trying=True, documents=(applied(8),))
    )
    found = merged({1: one, 2: two})
    assert len(found.held) == 1
    assert [(each.manager, each.generation) for each in found.progress.documents] == [(1, 4), (2, 8)]
    assert (found.progress.trying, found.progress.generation) == (True, 9)


def test_the_mesh_is_as_far_as_the_manager_that_is_behind() -> None:
    """Nobody is told that calls arrive while one of them still has news for its proxies, or knows of a sick one."""
    one, two = Progress(resting=True, unwell=0), Progress(resting=False, unwell=2)
    found = merged({1: MeshStatus(proxies=(), progress=one), 2: MeshStatus(proxies=(), progress=two)}).progress
    assert (found.resting, found.unwell) == (False, 2)


def test_only_those_who_share_a_port_can_have_it() -> None:
    """Of two sockets at one port both have to agree; a third that does not is refused."""
    with shared("127.0.0.1", 0) as one, shared("127.0.0.1", port := one.getsockname()[1]) as two:
        assert two.getsockname()[1] == port
        with pytest.raises(Misconfigured):
            bound("127.0.0.1", port)


class Values:
    """Values in force, as a World has them."""

    def __init__(self) -> None:
        self.now: dict[ConfigKey, str] = {}
        self.proved = Proved("", lambda key: self.now.get(key, ""))

    def take(self, value: str, *, proved: float) -> None:
        """A new version, settled as generation `value[1:]`; proved up to `proved` afterwards."""
        self.proved.begin(RULE)
        self.now[RULE] = value
        self.proved.settled(int(value[1:]))
        self.proved.prove(int(min(proved, 1_000_000)))


def test_what_all_proxies_here_took_can_still_be_put_back() -> None:
    """Proxies of another Manager may refuse it: then the version before is good, not nothing."""
    values = Values()
    for value in ("v1", "v2"):
        values.take(value, proved=math.inf)
    assert not values.proved.unproved
    assert values.proved.revert(RULE) == "v1"


def test_the_same_again_does_not_make_the_older_one_forgotten() -> None:
    values = Values()
    for value in ("v1", "v2", "v2"):
        values.take(value, proved=math.inf)
    assert values.proved.revert(RULE) == "v1"


def test_what_was_good_elsewhere_can_be_recalled() -> None:
    values = Values()
    values.take("v1", proved=0)
    assert not values.proved.knows_better(RULE)
    values.proved.recall(RULE, "v0")
    assert values.proved.knows_better(RULE)
    assert values.proved.revert(RULE) == "v0"


async def test_after_a_while_nobody_is_at_a_manager_that_hangs(tmp_path: Path) -> None:
    """Proxies have left it by then, so that nobody waits for it any more."""
    now = [100.0]
    peers = Peers(Settings(state=tmp_path, number=2, managers=2), clock=lambda: now[0])
    with socket.socket(socket.AF_UNIX) as hangs:
        hangs.bind(str(tmp_path / "api.sock"))
        hangs.listen()
        home(tmp_path, 2).mkdir(parents=True)
        found = []
        for now[0] in (100.0, 100.0 + LEFT_WITHIN):
            found.append((await peers.status(MeshStatus(proxies=()))).silent)
    assert found == [(1,), ()]
