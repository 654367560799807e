"""The suite finds platforms that break the contract: each of these is a working one with one fault put in."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import msgspec
import pytest

from core.diagnostics import Diagnostic, Reported
from core.errors import Expired
from core.model.change import (
    ConfigChange,
    ConfigPut,
    InstanceGone,
    InstancePut,
    RegistryChange,
    ServiceGone,
    ServicePut,
    Synced,
)
from core.model.config import ConfigKey, Document, Revised, Snapshot, Write
from core.model.labels import Labels
from core.model.service import Health, Instance
from core.ports import Platform, ServiceRegistry
from platforms.conformance.case import Result
from platforms.conformance.cases import CASES
from platforms.conformance.harness import Budgets
from platforms.conformance.report import level, run_all
from platforms.memory import MemoryConfigStore, MemoryPlatform
from platforms.memory.elector import MemoryElector
from platforms.memory.testing import MemoryHarness

Fault = Callable[[AsyncIterator[RegistryChange]], AsyncIterator[RegistryChange]]


class Faulty:
    """A registry whose watches go through a fault."""

    def __init__(self, inner: ServiceRegistry, fault: Fault) -> None:
        self._inner = inner
        self._fault = fault

    def watch(self) -> AsyncIterator[RegistryChange]:
        return self._fault(self._inner.watch())


class FaultyHarness(MemoryHarness):
    """The in-memory platform behind a fault, with short budgets: it is expected to fail."""

    name = "faulty"
    budgets = Budgets(event=0.1, sync=0.2, quiet=0.02, many=60)

    def __init__(self, fault: Fault) -> None:
        super().__init__()
        self._fault = fault

    def record(self) -> Platform:
        healthy = super().record()
        assert healthy.registry is not None
        return msgspec.structs.replace(healthy, registry=Faulty(healthy.registry, self._fault))


async def drops_service_removals(watch: AsyncIterator[RegistryChange]) -> AsyncIterator[RegistryChange]:
    async for change in watch:
        if not isinstance(change, ServiceGone):
            yield change


async def drops_instance_removals(watch: AsyncIterator[RegistryChange]) -> AsyncIterator[RegistryChange]:
    async for change in watch:
        if not isinstance(change, InstanceGone):
            yield change


async def syncs_too_early(watch: AsyncIterator[RegistryChange]) -> AsyncIterator[RegistryChange]:
    told = False
    async for change in watch:
        if not told:
            told = True
            yield Synced()
        if not isinstance(change, Synced):
            yield change


async def syncs_twice(watch: AsyncIterator[RegistryChange]) -> AsyncIterator[RegistryChange]:
    async for change in watch:
        yield change
        if isinstance(change, Synced):
            yield change


async def never_syncs(watch: AsyncIterator[RegistryChange]) -> AsyncIterator[RegistryChange]:
    async for change in watch:
        if not isinstance(change, Synced):
            yield change


async def moves_labels_by_removing(watch: AsyncIterator[RegistryChange]) -> AsyncIterator[RegistryChange]:
    known: dict[object, Labels] = {}
    async for change in watch:
        if isinstance(change, InstancePut):
            key, labels = change.instance.key, change.instance.labels
            if known.get(key, labels) != labels:
                yield InstanceGone(key)
            known[key] = labels
        yield change


async def moves_labels_in_two_steps(watch: AsyncIterator[RegistryChange]) -> AsyncIterator[RegistryChange]:
    known: dict[object, Instance] = {}
    async for change in watch:
        if isinstance(change, InstancePut):
            before = known.get(change.instance.key)
            known[change.instance.key] = change.instance
            if before is not None and before.labels != change.instance.labels:
                half = Labels.of(before.labels.as_dict() | dict(change.instance.labels.pairs[:1]))
                yield InstancePut(msgspec.structs.replace(change.instance, labels=half))
        yield change


async def thinks_unknown_is_healthy(watch: AsyncIterator[RegistryChange]) -> AsyncIterator[RegistryChange]:
    async for change in watch:
        if isinstance(change, InstancePut) and change.instance.health is Health.UNKNOWN:
            yield InstancePut(msgspec.structs.replace(change.instance, health=Health.HEALTHY))
        else:
            yield change


async def goes_backwards(watch: AsyncIterator[RegistryChange]) -> AsyncIterator[RegistryChange]:
    last: dict[object, InstancePut] = {}
    async for change in watch:
        yield change
        if isinstance(change, InstancePut):
            if older := last.get(change.instance.key):
                yield older
                yield change
            last[change.instance.key] = change


async def forgets_ports(watch: AsyncIterator[RegistryChange]) -> AsyncIterator[RegistryChange]:
    known: dict[object, ServicePut] = {}
    async for change in watch:
        if isinstance(change, ServicePut):
            first = known.setdefault(change.service.key, change)
            yield ServicePut(msgspec.structs.replace(change.service, ports=first.service.ports))
        else:
            yield change


async def leaves_a_task_behind(watch: AsyncIterator[RegistryChange]) -> AsyncIterator[RegistryChange]:
    async for change in watch:
        try:
            yield change
        finally:
            asyncio.get_running_loop().create_task(asyncio.sleep(0.3), name="left behind")


async def breaks_down(watch: AsyncIterator[RegistryChange]) -> AsyncIterator[RegistryChange]:
    async for change in watch:
        yield change
        if isinstance(change, InstancePut):
            raise ConnectionResetError("by peer")


FAULTS: list[tuple[Fault, set[str]]] = [
    (drops_service_removals, {"B2"}),
    (drops_instance_removals, {"C2", "B2", "B3", "D10", "D11"}),
    (syncs_too_early, {"A1", "A2", "A10"}),
    (syncs_twice, {"A10"}),
    (never_syncs, {"A3", "A1"}),
    (moves_labels_by_removing, {"C8"}),
    (moves_labels_in_two_steps, {"C8"}),
    (thinks_unknown_is_healthy, {"C6"}),
    (goes_backwards, {"D2"}),
    (forgets_ports, {"B4"}),
    (leaves_a_task_behind, {"A6"}),
    (breaks_down, {"C2", "D1"}),
]


async def no_fault(watch: AsyncIterator[RegistryChange]) -> AsyncIterator[RegistryChange]:
    async for change in watch:
        yield change


async def failing(make: Callable[[], MemoryHarness]) -> set[str]:
    outcomes = await run_all(make)
    failed = {outcome.case.id for outcome in outcomes if outcome.result is Result.FAIL}
    assert level(outcomes) == ("" if failed else "core")
    return failed


@pytest.mark.parametrize(("fault", "expected"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
async def test_the_right_cases_fail(fault: Fault, expected: set[str]) -> None:
    """A platform with this fault fails at least these cases, and earns no level."""
    assert expected <= await failing(lambda: FaultyHarness(fault))


async def test_without_a_fault_nothing_fails() -> None:
    """The double itself is innocent: what fails above fails because of the fault."""
    assert await failing(lambda: FaultyHarness(no_fault)) == set()


async def tidies_up_slowly(watch: AsyncIterator[RegistryChange]) -> AsyncIterator[RegistryChange]:
    try:
        async for change in watch:
            yield change
    except asyncio.CancelledError:
        await asyncio.sleep(1.3)
        raise


class FaultyStoreHarness(MemoryHarness):
    """The in-memory platform with a store or an elector that has one fault."""

    name = "faulty"
    budgets = Budgets(event=0.1, sync=0.5, quiet=0.02, failover=0.3, many=30)

    def __init__(self, fault: type[MemoryConfigStore | MemoryElector]) -> None:
        self._fault = fault
        super().__init__()

    def make_memory(self) -> MemoryPlatform:
        memory = MemoryPlatform()
        if issubclass(self._fault, MemoryConfigStore):
            memory.config = self._fault()
            memory.record = msgspec.structs.replace(memory.record, config=memory.config)
        else:
            memory.elector = self._fault()
            memory.record = msgspec.structs.replace(memory.record, elector=memory.elector)
        return memory


class Overwrites(MemoryConfigStore):
    """Looks at no revision; and between reading and writing others have their turn."""

    async def get(self, key: ConfigKey) -> Document | None:
        stored = await super().get(key)
        await asyncio.sleep(0)
        return stored

    async def put(self, document: Document) -> Document:
        stored = await super().get(document.key)
        return await super().put(msgspec.structs.replace(document, revision=stored.revision if stored else ""))


class DeletesAnything(MemoryConfigStore):
    async def delete(self, key: ConfigKey, *, revision: str = "") -> None:
        await super().delete(key)


class ListsEverything(MemoryConfigStore):
    async def list(self, *, group: str = "", kind: str = "", namespace: str = "") -> tuple[Document, ...]:
        return await super().list(group=group, kind=kind)


class ListsOldRevisions(MemoryConfigStore):
    """The list is newer than the revision that it claims."""

    async def snapshot(self, *, group: str = "", kind: str = "", namespace: str = "") -> Snapshot:
        whole = await super().snapshot(group=group, kind=kind, namespace=namespace)
        return Snapshot(whole.documents, str(max(0, int(whole.revision) - 1)))


class Forgets(MemoryConfigStore):
    """Goes on from the newest revision when the wanted one is forgotten, and says nothing."""

    async def changes(self, since: str) -> AsyncIterator[Revised]:
        try:
            async for revised in super().changes(since):
                yield revised
        except Expired:
            async for revised in super().changes((await self.snapshot()).revision):
                yield revised


class TellsTheNewest(MemoryConfigStore):
    """Leaves out what has been overtaken."""

    async def changes(self, since: str) -> AsyncIterator[Revised]:
        async for revised in super().changes(since):
            stored = await self.get(revised.key)
            if (stored and stored.revision) == (revised.document and revised.document.revision):
                yield revised


class TellsTwice(MemoryConfigStore):
    async def changes(self, since: str) -> AsyncIterator[Revised]:
        async for revised in super().changes(since):
            yield revised
            yield revised


class DropsUnknownFields(MemoryConfigStore):
    async def put(self, document: Document) -> Document:
        return await super().put(msgspec.structs.replace(document, extra=b"{}"))


class StatusIsAChange(MemoryConfigStore):
    async def report(self, key: ConfigKey, diagnostics: tuple[Diagnostic, ...]) -> None:
        await super().report(key, diagnostics)
        if (stored := await self.get(key)) is not None:
            await self.put(msgspec.structs.replace(stored, extra=b'{"status":{}}'))


class BlamesNobody(MemoryConfigStore):
    """Keeps the findings of now, and not those of before."""

    async def judged(self, key: ConfigKey) -> Mapping[str, tuple[Diagnostic, ...]]:
        history = await self.history(key)
        return {history[-1].revision: await self.status(key)} if history else {}


class TellsNoReports(MemoryConfigStore):
    async def events(self, since: str) -> AsyncIterator[Revised | Reported]:
        async for event in super().events(since):
            if isinstance(event, Revised):
                yield event


class WritesOneByOne(MemoryConfigStore):
    async def commit(self, writes: tuple[Write, ...], *, author: str = "") -> tuple[Document | None, ...]:
        return tuple([one for write in writes for one in await super(WritesOneByOne, self).commit((write,))])


class ComparesSpelling(MemoryConfigStore):
    async def put(self, document: Document) -> Document:
        stored = await self.get(document.key)
        marked = document.extra if stored is None or document.spec == stored.spec else b'{"spelling":1}'
        return await super().put(msgspec.structs.replace(document, extra=marked))


class CountsFromOne(MemoryConfigStore):
    """Begins to count anew for every list."""

    async def snapshot(self, *, group: str = "", kind: str = "", namespace: str = "") -> Snapshot:
        return Snapshot(await self.list(group=group, kind=kind, namespace=namespace), "1")


class RemembersOneAuthor(MemoryConfigStore):
    async def commit(self, writes: tuple[Write, ...], *, author: str = "") -> tuple[Document | None, ...]:
        return await super().commit(writes, author="somebody")


class TellsNoOther(MemoryConfigStore):
    """A watch sees what was there when it began."""

    async def watch(self) -> AsyncIterator[ConfigChange]:
        for document in await self.list():
            yield ConfigPut(document)
        yield Synced()
        await asyncio.Event().wait()


class ElectsEverybody(MemoryElector):
    async def lead(self, work: Callable[[int], Awaitable[None]]) -> None:
        await work(1)


class RepeatsTerms(MemoryElector):
    async def lead(self, work: Callable[[int], Awaitable[None]]) -> None:
        await super().lead(lambda term: work(1))


class HoldsOn(MemoryElector):
    """Keeps the lead for a while when its work is over."""

    async def lead(self, work: Callable[[int], Awaitable[None]]) -> None:
        async def slow(term: int) -> None:
            try:
                await work(term)
            finally:
                await asyncio.sleep(0.5)

        await super().lead(slow)


STORE_FAULTS: list[tuple[type[MemoryConfigStore | MemoryElector], set[str]]] = [
    (Overwrites, {"I2", "I3", "I8"}),
    (DeletesAnything, {"I4"}),
    (ListsEverything, {"I5"}),
    (ListsOldRevisions, {"I6"}),
    (Forgets, {"I7"}),
    (TellsTheNewest, {"I6", "I15"}),
    (TellsTwice, {"I6", "I15"}),
    (DropsUnknownFields, {"I9"}),
    (StatusIsAChange, {"I12"}),
    (BlamesNobody, {"I19"}),
    (TellsNoReports, {"I20"}),
    (WritesOneByOne, {"I13"}),
    (ComparesSpelling, {"I14"}),
    (CountsFromOne, {"I17"}),
    (RemembersOneAuthor, {"I18", "I13"}),
    (TellsNoOther, {"I16"}),
    (ElectsEverybody, {"J1"}),
    (RepeatsTerms, {"J1"}),
    (HoldsOn, {"J4"}),
]
STORE_CASES = [case for case in CASES if case.id[0] in "IJ"]


@pytest.mark.parametrize(("fault", "expected"), STORE_FAULTS, ids=[fault.__name__ for fault, _ in STORE_FAULTS])
async def test_the_right_cases_fail_for_a_store(
    fault: type[MemoryConfigStore | MemoryElector], expected: set[str]
) -> None:
    """A store or an elector with this fault fails at least these cases."""
    outcomes = await run_all(lambda: FaultyStoreHarness(fault), STORE_CASES)
    assert expected <= {outcome.case.id for outcome in outcomes if outcome.result is Result.FAIL}
    assert level(outcomes, STORE_CASES) == ""


@pytest.mark.parametrize("innocent", [MemoryConfigStore, MemoryElector])
async def test_a_store_without_a_fault_passes(innocent: type[MemoryConfigStore | MemoryElector]) -> None:
    """With these budgets the healthy ones pass what they do not skip."""
    outcomes = await run_all(lambda: FaultyStoreHarness(innocent), STORE_CASES)
    assert [outcome for outcome in outcomes if outcome.result is Result.FAIL] == []


async def test_a_platform_without_store_and_elector_skips_them() -> None:
    """Who keeps no configuration and elects nobody is not asked to, with that reason, and may still earn the level."""

    class Bare(MemoryHarness):
        def record(self) -> Platform:
            return msgspec.structs.replace(super().record(), config=None, elector=None)

    outcomes = await run_all(Bare)
    skipped = {outcome.case.id: outcome.reason for outcome in outcomes if outcome.result is Result.SKIP}
    assert {case.id for case in STORE_CASES} <= skipped.keys()
    assert all(skipped.values())
    assert level(outcomes) == "core"


async def test_a_watch_that_will_not_be_cancelled_is_found_out() -> None:
    """A watch that goes on for more than a second after it was cancelled fails A5."""
    a5 = [case for case in CASES if case.id == "A5"]
    (outcome,) = await run_all(lambda: FaultyHarness(tidies_up_slowly), a5)
    assert outcome.result is Result.FAIL
    assert "a second after it was cancelled" in outcome.reason


class Queueing(FaultyHarness):
    """Tells every single write: nothing is compared, coalesced or dropped."""

    def __init__(self) -> None:
        super().__init__(no_fault)

    def record(self) -> Platform:
        return msgspec.structs.replace(self.memory.record, registry=Queue(self))


class Queue:
    """An event log that is replayed to everybody from the beginning."""

    def __init__(self, harness: MemoryHarness) -> None:
        self._log: list[RegistryChange] = [
            InstancePut(value) if isinstance(value, Instance) else ServicePut(value)  # type: ignore[arg-type]
            for value in harness.memory.registry.values()
        ]
        self._log.append(Synced())
        self._news = asyncio.Condition()
        registry, put, remove = harness.memory.registry, harness.memory.registry.put, harness.memory.registry.remove

        def logged_put(*values: object) -> None:
            put(*values)  # type: ignore[arg-type]
            self._log += [InstancePut(v) if isinstance(v, Instance) else ServicePut(v) for v in values]  # type: ignore[arg-type]

        def logged_remove(*keys: object) -> None:
            remove(*keys)  # type: ignore[arg-type]
            self._log += [InstanceGone(k) if hasattr(k, "service") else ServiceGone(k) for k in keys]  # type: ignore[arg-type]

        registry.put = logged_put  # type: ignore[method-assign]
        registry.remove = logged_remove  # type: ignore[method-assign]

    async def watch(self) -> AsyncIterator[RegistryChange]:
        position = 0
        while True:
            while position < len(self._log):
                position += 1
                yield self._log[position - 1]
            await asyncio.sleep(0.001)


async def test_a_queue_of_events_is_found_out() -> None:
    """A platform that tells every write, equal or not, fails where events are counted."""
    assert {"D3", "D4", "D6", "D7"} <= await failing(Queueing)


def test_the_plugin_runs_the_suite_for_a_named_harness(tmp_path: Path) -> None:
    """`--mesh-harness module:Class` runs every case, prints a line for each and the level."""
    done = _pytest(tmp_path, "platforms.memory.testing:MemoryHarness")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "A1   pass" in done.stdout
    assert "memory: level core (" in done.stdout


def test_the_plugin_refuses_the_level_to_a_broken_platform(tmp_path: Path) -> None:
    """A broken platform ends with exit code 1, its failed cases named, and no level."""
    lines = [
        "from platforms.memory.testing import MemoryHarness",
        "class Broken(MemoryHarness):",
        "    async def delete_instance(self, instance): pass",
    ]
    (tmp_path / "broken_harness.py").write_text("\n".join(lines))
    done = _pytest(tmp_path, "broken_harness:Broken", "-k", "C1 or C2")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "C2   FAIL" in done.stdout
    assert "memory: level none (" in done.stdout


def test_the_plugin_says_what_is_wrong_with_the_name_of_a_harness(tmp_path: Path) -> None:
    """A harness that cannot be found is a usage error that names it."""
    done = _pytest(tmp_path, "nowhere.to_be_found:Harness", "-k", "A1")
    assert done.returncode != 0
    assert "--mesh-harness nowhere.to_be_found:Harness" in done.stdout + done.stderr


def _pytest(folder: Path, harness: str, *further: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "pytest", "--pyargs", "platforms.conformance", "--mesh-harness", harness]
    options = ["-p", "platforms.conformance.plugin", "-p", "no:cacheprovider", f"--rootdir={folder}", "-c", "/dev/null"]
    env = {"PYTHONPATH": f"{root}:{folder}", "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    run = [*command, *options, *further]
    return subprocess.run(run, cwd=folder, env=env, capture_output=True, text=True, timeout=90)
