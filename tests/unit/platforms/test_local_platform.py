"""The local platform as a whole: following its file, probing, seeding, slots. Real files, sockets and processes."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from core.diagnostics import Diagnostic
from core.errors import Misconfigured
from core.model.config import ConfigKey, Document
from core.model.service import Health, WorkloadKey
from core.model.workload import Node, node_id
from core.ports import Locator
from platforms.conformance.view import View, registry_of, watching
from platforms.local import LocalMesh, Settings, open_mesh
from platforms.local.filewatch import contents
from platforms.local.slots import claimed
from platforms.memory import MemoryPlatform
from platforms.memory import open_platform as open_memory

ROOT = Path(__file__).parents[3]
RULE = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: reviews}\nspec: {hosts: [%s]}\n"
KEY = ConfigKey("networking.istio.io", "VirtualService", "default", "reviews")
SERVICES = "services:\n  reviews: {ports: [9080], workloads: {v1: {command: [x]}}}\n"


class Place:
    """A folder with a mesh file in it, and what was reported about that."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "mesh.yaml"
        self.settings = Settings(
            mesh_file=self.file, state=folder / "state", poll_interval=0.02, probe_interval=0.05,
            first_probe_interval=0.02,
        )  # fmt: skip
        self.reports: list[tuple[Diagnostic, ...]] = []

    def write(self, text: str) -> None:
        fresh = self.file.with_suffix(".new")
        fresh.write_text(text)
        os.replace(fresh, self.file)

    @contextlib.asynccontextmanager
    async def opened(self, **changes: object) -> AsyncIterator[tuple[LocalMesh, View]]:
        settings = msgspec.structs.replace(self.settings, **changes)
        async with (
            open_mesh(settings, report=self.reports.append, clock=lambda: 5.0) as mesh,
            watching(registry_of(mesh.platform)) as view,
        ):
            yield mesh, view


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)


async def until_stored(mesh: LocalMesh, spec: bytes | None) -> Document | None:
    async with asyncio.timeout(5):
        while True:
            document = await mesh.config.get(KEY)
            if (document.spec if document else None) == spec:
                return document
            await asyncio.sleep(0.01)


async def until_moved(mesh: LocalMesh, line: str) -> Document:
    async with asyncio.timeout(5):
        while True:
            document = await mesh.config.get(KEY)
            if document is not None and document.source.endswith(line):
                return document
            await asyncio.sleep(0.01)


def spec(host: str) -> bytes:
    return b'{"hosts":["%s"]}' % host.encode()


async def test_a_broken_file_changes_nothing(place: Place) -> None:
    """A file with a mistake is reported and the last good view stays, until the file is good again."""
    place.write(SERVICES)
    async with place.opened() as (mesh, view):
        await view.eventually(lambda v: v.synced == 1, 5, "synced")
        before = mesh.registry.plan
        for text in (SERVICES + "extra: 1\n", "", "services: ["):
            place.write(text)
            count = len(place.reports)
            await until(lambda n=count: len(place.reports) > n)  # type: ignore[misc]
            assert place.reports[-1][0].place is not None
        place.file.unlink()
        await until(lambda: place.reports[-1][0].code == "MSH2001")
        assert mesh.registry.plan is before
        assert len(view.services) == 1
        place.write(SERVICES.replace("9080", "9081"))
        await view.eventually(lambda v: [s.ports[0].number for s in v.services.values()] == [9081], 5, "9081")
        assert place.reports[-1] == ()


async def test_plans_follow_the_file(place: Place) -> None:
    """Who launches applications sees the newest plan first, and then every edit."""
    place.write(SERVICES)
    async with place.opened() as (mesh, _), asyncio.timeout(5):
        plans = mesh.registry.plans()
        assert [launch.workload.name for launch in (await anext(plans)).launches] == ["reviews-v1"]
        place.write(SERVICES.replace("v1:", "v2:"))
        assert [launch.workload.name for launch in (await anext(plans)).launches] == ["reviews-v2"]


async def test_health_follows_the_application(place: Place) -> None:
    """Unknown until the application accepts, healthy then, unhealthy when it stops."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        place.write(SERVICES.replace("command: [x]", f'address: "127.0.0.1:{port}"'))
        async with place.opened() as (_, view):
            await view.eventually(lambda v: _health(v) is Health.UNKNOWN, 5, "unknown at first")
            await view.never(lambda v: _health(v) is not Health.UNKNOWN, 0.2, "nobody listens")
            listener.listen()
            await view.eventually(lambda v: _health(v) is Health.HEALTHY, 5, "healthy")
            listener.close()
            await view.eventually(lambda v: _health(v) is Health.UNHEALTHY, 5, "unhealthy")


async def test_probing_can_be_switched_off(place: Place) -> None:
    """Without probing every instance counts as healthy at once."""
    place.write(SERVICES)
    async with place.opened(probe_interval=None) as (_, view):
        await view.eventually(lambda v: _health(v) is Health.HEALTHY, 5, "healthy")
        assert len([change for change in view.history if "instance" in change.__struct_fields__]) == 1


def _health(view: View) -> Health | None:
    return next((instance.health for instance in view.instances.values()), None)


async def test_documents_are_in_the_store_when_it_opens(place: Place) -> None:
    """The file's documents are there from the first moment, with their source."""
    place.write(SERVICES + RULE % "a")
    async with place.opened() as (mesh, _):
        document = await mesh.config.get(KEY)
        assert document is not None
        assert (document.spec, document.created) == (spec("a"), 5.0)
        assert document.annotations.get("istio.io/source") == f"{place.file}:4"


async def test_the_file_wins_only_where_it_changed(place: Place) -> None:
    """A changed document of the file is applied; one that stayed does not undo what somebody did since."""
    place.write(SERVICES + RULE % "a")
    async with place.opened() as (mesh, _):
        stored = await mesh.config.get(KEY)
        assert stored is not None
        await mesh.config.put(msgspec.structs.replace(stored, spec=spec("mine")))
        place.write("# a comment\n" + SERVICES + RULE % "a")
        await until(lambda: len(place.reports) == 2)
        await until_stored(mesh, spec("mine"))
    async with place.opened() as (mesh, _):
        await until_stored(mesh, spec("mine"))
        place.write(SERVICES + RULE % "b")
        await until_stored(mesh, spec("b"))
        await mesh.config.delete(KEY)
    async with place.opened() as (mesh, _):
        assert await mesh.config.get(KEY) is None
        place.write(SERVICES + RULE % "c")
        await until_stored(mesh, spec("c"))


async def test_a_moved_document_has_its_new_line_and_no_new_generation(place: Place) -> None:
    """Lines put in above a document change where it comes from, not what it says."""
    place.write(SERVICES + RULE % "a")
    async with place.opened() as (mesh, _):
        place.write("# one\n# more\n" + SERVICES + RULE % "a")
        document = await until_moved(mesh, ":6")
        assert document.generation == 1
        place.write(SERVICES)
        await until_stored(mesh, None)


async def test_a_withdrawn_document_that_somebody_changed_stays(place: Place) -> None:
    """Taking a document out of the file deletes what the file had put there, not what somebody made of it."""
    place.write(SERVICES + RULE % "a")
    async with place.opened() as (mesh, _):
        stored = await mesh.config.get(KEY)
        assert stored is not None
        await mesh.config.put(msgspec.structs.replace(stored, spec=spec("mine")))
        place.write(SERVICES)
        await until(lambda: len(place.reports) == 2)
        await until_stored(mesh, spec("mine"))


async def test_the_locator_finds_workloads_by_node_id(place: Place) -> None:
    """A node id leads to its workload, an unknown one to nobody; the in-memory platform does the same."""
    place.write(SERVICES)
    async with place.opened() as (mesh, view), open_memory(memory := MemoryPlatform()) as other:
        await view.eventually(lambda v: bool(v.workloads), 5, "the workload is seen")
        workload = view.workloads[WorkloadKey("default", "reviews-v1")]
        memory.registry.put(workload)
        for locator in (mesh.platform.locator, other.locator):
            assert isinstance(locator, Locator)
            assert locator.locate(Node(id=node_id(workload, "cluster.local"))) == workload
            assert locator.locate(Node(id="sidecar~127.16.0.9~nobody.default~x")) is None
            assert locator.locate(Node(id="nonsense")) is None


async def test_a_bug_while_reading_reaches_the_watchers(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception nobody expected ends the watches with itself instead of going silent."""
    place.write(SERVICES)

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("platforms.local.registry.plan", fail)
    async with open_mesh(place.settings, report=place.reports.append) as mesh:
        with pytest.raises(ZeroDivisionError):
            await anext(mesh.registry.watch())


async def test_the_state_directory_is_private(place: Place) -> None:
    """State is readable by its owner only; a place that cannot hold it is refused."""
    place.write(SERVICES)
    async with place.opened():
        assert place.settings.state.stat().st_mode & 0o777 == 0o700
    with pytest.raises(Misconfigured) as caught:
        async with place.opened(state=place.file / "below"):
            pass
    assert caught.value.fix


def test_a_slot_belongs_to_one_process() -> None:
    """A taken slot is refused by the name of its holder; without a wish the next free one is taken."""
    with claimed(None) as first, claimed(None) as second:
        assert first != second
        with pytest.raises(Misconfigured, match=f"slot {first} is in use by this process"), claimed(first):
            pass
    with claimed(first) as again:
        assert again == first


@contextlib.contextmanager
def foreign_holder() -> Iterator[tuple[int, int]]:
    """Another process that holds a slot: (slot, pid)."""
    script = (
        "import sys\nfrom platforms.local.slots import claimed\n"
        "with claimed(None) as slot:\n    print(slot, flush=True)\n    sys.stdin.read()\n"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline()), process.pid
        finally:
            process.kill()


def test_the_holder_of_a_slot_is_named_and_its_death_frees_it() -> None:
    """The process that holds the slot is named by its id; killed, it holds nothing."""
    with foreign_holder() as (slot, pid), pytest.raises(Misconfigured, match=f"in use by process {pid}"), claimed(slot):
        pass
    with claimed(slot):
        pass


async def test_file_watch_sees_every_way_to_write(tmp_path: Path) -> None:
    """Rename, rewriting in place with the same size, removal and return are seen; touching is not."""
    file = tmp_path / "f"
    file.write_text("one")
    watch = contents(file, every=0.02)
    async with asyncio.timeout(10):
        assert await anext(watch) == b"one"
        file.write_text("two")
        assert await anext(watch) == b"two"
        (tmp_path / "g").write_text("six")
        os.replace(tmp_path / "g", file)
        assert await anext(watch) == b"six"
        file.unlink()
        assert isinstance(await anext(watch), FileNotFoundError)
        file.write_text("six")
        assert await anext(watch) == b"six"
        os.utime(file, (time.time() + 60, time.time() + 60))
        step = asyncio.ensure_future(anext(watch))
        done, _ = await asyncio.wait([step], timeout=0.2)
        assert not done
        file.write_text("end")
        assert await step == b"end"


async def test_file_watch_waits_for_writers(tmp_path: Path) -> None:
    """A file that grows is told when it stands still, not in parts."""
    file = tmp_path / "f"
    file.write_text("")
    watch = contents(file, every=0.1)
    async with asyncio.timeout(10):
        assert await anext(watch) == b""
        step = asyncio.ensure_future(anext(watch))
        for size in range(1, 21):
            file.write_text("x" * size)
            await asyncio.sleep(0.02)
        assert await step == b"x" * 20


def test_importing_the_platform_is_light() -> None:
    """No grpc, no CLI and no HTTP library comes with the import."""
    code = "import sys, platforms.local; print([m for m in ('grpc', 'click', 'httpx', 'google') if m in sys.modules])"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True, timeout=30)
    assert done.stdout.strip() == "[]"
