"""`status` and `apply --wait`: against a real config API that is told how far proxies are."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
import yaml
from click.testing import Result

from core.diagnostics import Diagnostic, Severity
from core.manager.api import SOCKET
from core.manager.api.application import ConfigApi
from core.manager.api.server import serve
from core.manager.status import Applied, Held, Progress, ProxyStatus, Refusal
from core.model.config import ConfigKey, Origin
from core.model.mesh import Mesh
from core.model.service import WorkloadKey
from platforms.memory import MemoryConfigStore

Run = Callable[..., Result]
KEY = ConfigKey("networking.istio.io", "VirtualService", "default", "reviews")
A, B = WorkloadKey("default", "a"), WorkloadKey("default", "b")
RULE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews}}]}]}
"""
BAD = Refusal(type="RDS", resource="80", reason="bad\n  regex", origin=Origin(KEY))
UNKNOWN = Refusal(type="RDS", resource="80", reason="bad")


class Manager:
    """Takes up what is stored in generation 5; tests say where the proxies are."""

    def __init__(self, run: Run) -> None:
        self.store = MemoryConfigStore()
        self.proxies: tuple[ProxyStatus, ...] = ()
        self.held: tuple[Held, ...] = ()
        self.trying = False
        self.revision = "1"
        self._looks: asyncio.Queue[None] = asyncio.Queue()
        self._run = run

    def api(self) -> ConfigApi:
        return ConfigApi(
            self.store,
            mesh=Mesh,
            proxies=lambda: self.proxies,
            held=lambda: self.held,
            progress=self.progress,
        )

    async def looked_at(self, times: int) -> None:
        """From now on."""
        while not self._looks.empty():
            self._looks.get_nowait()
        for _ in range(times):
            await asyncio.wait_for(self._looks.get(), 10)

    def progress(self) -> Progress:
        self._looks.put_nowait(None)
        applied = Applied(document=KEY, revision=self.revision, generation=5)
        return Progress(generation=7, trying=self.trying, documents=(applied,) if self.revision else ())

    def stand(self, a: int, b: int, *refused: Refusal) -> None:
        """The generations of both proxies, and what the second refuses."""
        first = ProxyStatus(workload=A, node="a", connected_since=1.0, generation=a)
        self.proxies = (
            first,
            ProxyStatus(workload=B, node="b", connected_since=1.0, generation=b, refused=refused),
        )

    async def istioctl(self, *args: str, stdin: str = "") -> Result:
        return await asyncio.to_thread(lambda: self._run(*args, stdin=stdin))

    async def apply(self, *args: str) -> Result:
        return await self.istioctl("apply", "-f", "-", *args, stdin=RULE)


@pytest.fixture
async def manager(istioctl: Run, state_dir: Path) -> AsyncIterator[Manager]:
    await asyncio.to_thread(state_dir.mkdir)
    running = Manager(istioctl)
    async with serve(running.api().application(), state_dir / SOCKET):
        yield running


async def test_waiting_ends_when_all_have_it(manager: Manager) -> None:
    """Newer generations count as well."""
    manager.stand(5, 7)
    result = await manager.apply("--wait=5")
    assert (result.exit_code, result.stdout) == (0, "virtualservice.networking.istio.io/reviews created\n")
    assert result.stderr.startswith("acknowledged by 2 of 2 proxies after ")
    assert (await manager.apply("--wait")).exit_code == 0


async def test_waiting_lasts_until_the_last_has_it(manager: Manager) -> None:
    """It is looked again and again: first the Manager has to take it up, then the proxies."""
    manager.revision = ""
    manager.stand(4, 4)
    waiting = asyncio.create_task(manager.apply("--wait=20"))
    await manager.looked_at(3)
    manager.revision = "1"
    await manager.looked_at(3)
    assert not waiting.done()
    manager.stand(5, 5)
    assert (await waiting).exit_code == 0


@pytest.mark.parametrize("refused", [(), (UNKNOWN,)])
async def test_who_is_late_is_named(manager: Manager, refused: tuple[Refusal, ...]) -> None:
    """Time is over: the object is stored, and this proxy has not answered, or refuses something nobody knows whose."""
    manager.stand(5, 5 if refused else 4, *refused)
    result = await manager.apply("--wait=0.1")
    assert result.exit_code == 1
    assert (
        "VirtualService default/reviews is stored, but after 0.1 s b.default had not acknowledged it" in result.stderr
    )
    assert "(1 of 2 proxies)" in result.stderr
    assert "istioctl status virtualservice reviews -n default" in result.stderr


async def test_a_manager_that_does_not_take_it_up_is_named(manager: Manager) -> None:
    """Also while it is being found out whose fault a refusal is."""
    manager.stand(9, 9)
    manager.trying = True
    result = await manager.apply("--wait=0.1")
    assert (result.exit_code, "the Manager had not settled it" in result.stderr) == (1, True)


async def test_a_refusal_ends_the_waiting(manager: Manager) -> None:
    """With the proxy and its reason, although by now that proxy is in sync with what was good before."""
    manager.stand(7, 7)
    manager.held = (Held(document=KEY, workload=B, refusal=BAD),)
    result = await manager.apply("--wait=20")
    assert result.exit_code == 1
    assert "is stored, and out of force: a proxy refused it (b.default: bad regex)" in result.stderr


async def test_what_somebody_else_wrote_over_it_is_waited_for(manager: Manager) -> None:
    """The Manager never takes up our revision, because there is a newer one."""
    manager.stand(5, 5)
    await manager.apply()
    (document,) = await manager.store.list()
    manager.revision = "2"
    waiting = asyncio.create_task(manager.apply("--wait=20"))
    await manager.looked_at(3)
    assert not waiting.done()
    await manager.store.put(msgspec.structs.replace(document, spec=document.spec.replace(b"reviews", b"ratings")))
    assert (await waiting).exit_code == 0


async def test_a_rehearsal_cannot_be_waited_for(manager: Manager) -> None:
    """A usage error, before anything is asked."""
    result = await manager.apply("--wait", "--dry-run")
    assert (result.exit_code, "leave --wait out" in result.stderr) == (2, True)


async def test_status_of_one_object(manager: Manager) -> None:
    """A row for each proxy."""
    await manager.apply()
    manager.stand(5, 4)
    lines = (await manager.istioctl("status", "vs", "reviews")).stdout.splitlines()
    assert lines[0] == ("VirtualService default/reviews at revision 1: in force since generation 5 (the newest is 7)")
    assert [line.split() for line in lines[2:]] == [
        ["PROXY", "STATE", "REASON"],
        ["a.default", "ACKNOWLEDGED", "-"],
        ["b.default", "WAITING", "-"],
    ]
    for output, load in (("json", json.loads), ("yaml", yaml.safe_load)):
        shown = load((await manager.istioctl("status", "vs", "reviews", "-o", output)).stdout)
        assert (shown["acknowledged"], shown["refused"], shown["generation"]) == (False, False, 5)
        assert [each["state"] for each in shown["proxies"]] == ["ACKNOWLEDGED", "WAITING"]


async def test_status_of_a_refused_object(manager: Manager) -> None:
    """Which proxy, and why."""
    await manager.apply()
    manager.stand(5, 5, BAD)
    assert "b.default   REFUSED        bad regex" in (await manager.istioctl("status", "vs", "reviews")).stdout
    manager.held = (Held(document=KEY, workload=B, refusal=BAD),)
    assert "out of force until it changes" in (await manager.istioctl("status", "vs", "reviews")).stdout


async def test_status_before_the_manager_has_it(manager: Manager) -> None:
    """Nobody can have acknowledged it."""
    manager.revision = ""
    manager.stand(9, 9)
    await manager.apply()
    result = (await manager.istioctl("status", "vs", "reviews")).stdout
    assert ("not in force yet" in result, result.count("WAITING")) == (True, 2)
    everything = await manager.istioctl("status")
    assert (everything.stdout, everything.stderr) == ("", "no such object is in force\n")


async def test_status_of_everything(manager: Manager) -> None:
    """A line for each object; of a kind or of names, too; a name that does not exist is an error."""
    await manager.apply()
    manager.stand(5, 4)
    header, row = (await manager.istioctl("status")).stdout.splitlines()
    assert header.split() == ["OBJECT", "REVISION", "GENERATION", "PROXIES", "STATE"]
    assert row.split() == ["VirtualService", "default/reviews", "1", "5", "1/2", "WAITING"]
    nobody = await manager.istioctl("status", "vs", "nobody")
    assert (nobody.exit_code, 'there is no virtualservice "nobody"' in nobody.stderr) == (1, True)
    assert (await manager.istioctl("status", "vs")).stdout.splitlines() == [header, row]
    assert (await manager.istioctl("status", "dr")).stderr == "no such object is in force\n"
    assert (await manager.istioctl("status", "vs", "-n", "shop")).stderr == "no such object is in force\n"
    assert (await manager.istioctl("status", "vs", "reviews", "nobody")).exit_code == 1
    (several,) = json.loads((await manager.istioctl("status", "vs", "-o", "json")).stdout)
    assert (several["name"], several["acknowledged"]) == ("reviews", False)


async def test_describing_tells_everything(manager: Manager) -> None:
    """What it says, its findings, whom it concerns, who has not acknowledged it, and its last changes."""
    await manager.apply()
    manager.stand(5, 4)
    shown = (await manager.istioctl("describe", "vs", "reviews")).stdout
    document, findings, concerns, proxies, changes = shown.rstrip("\n").split("\n\n")
    assert yaml.safe_load(document)["spec"]["hosts"] == ["reviews"]
    assert findings == "Findings: none"
    assert concerns.splitlines() == [
        "Concerns:",
        "  hosts:       reviews.default.svc.cluster.local",
        "  gateways:    mesh (all sidecars)",
        "  exported to: every namespace",
    ]
    assert changes.startswith("Changes (revision):\n  2")
    assert changes.endswith(": created (1)")
    assert proxies.splitlines() == [
        "Proxies: 1 of 2 have acknowledged it; in force since generation 5",
        "  b.default: WAITING",
    ]
    found = Diagnostic(code="IST0101", severity=Severity.ERROR, message="no such host", fix="name one")
    await manager.store.report(KEY, (found,))
    shown = (await manager.istioctl("describe", "vs", "reviews")).stdout
    assert "Findings:\n  Error [IST0101]: no such host\n    fix: name one\n" in shown
    nobody = await manager.istioctl("describe", "vs", "nobody")
    assert (nobody.exit_code, 'there is no virtualservice "nobody"' in nobody.stderr) == (1, True)


async def test_waiting_needs_no_number(manager: Manager) -> None:
    """Another option may follow."""
    manager.stand(5, 5)
    done = await manager.istioctl("apply", "--wait", "-f", "-", stdin=RULE)
    assert (done.exit_code, done.stderr.startswith("acknowledged by 2")) == (0, True)


async def test_a_watched_status_tells_what_is_different(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row for each object at first, then for one that stands differently; nothing while nothing happens."""
    manager.stand(5, 4)
    await manager.apply()
    naps = 0

    def sleep(seconds: float) -> None:
        nonlocal naps
        naps += 1
        if naps == 2:
            manager.stand(5, 5)
        if naps == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr("istioctl.commands.status.time.sleep", sleep)
    result = await manager.istioctl("status", "-w")
    _, *rows = (line.split() for line in result.stdout.splitlines())
    assert [row[-2:] for row in rows] == [["1/2", "WAITING"], ["2/2", "ACKNOWLEDGED"]]
    assert result.exit_code == 130
