"""Group A: opening, the first view, and leaving nothing behind."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from core.model.service import InstanceKey, ServiceKey
from core.ports import ServiceRegistry
from platforms.conformance.case import Case, Subject, case, required
from platforms.conformance.harness import InstanceSpec, ServiceSpec
from platforms.conformance.view import View, registry_of, watching

_IMPORT = """
import os, sys, threading
before = len(os.listdir("/proc/self/fd"))
__import__(sys.argv[1])
after = len(os.listdir("/proc/self/fd"))
assert threading.active_count() == 1, threading.enumerate()
assert after == before, f"{after - before} files or sockets opened"
assert "grpc" not in sys.modules, "grpc was imported"
"""


async def a1_first_view_is_complete_before_synced(subject: Subject) -> None:
    """Everything that existed before is reported before Synced."""
    expected = await _populate(subject, services=3, instances=2)
    async with subject.watched() as view:
        _assert_at_sync(view, expected)


async def a2_synced_is_never_told_on_a_part(subject: Subject) -> None:
    """Synced is not told on a part of a large first view either."""
    expected = await _populate(subject, services=subject.budgets.many // 4, instances=4)
    async with subject.watched() as view:
        _assert_at_sync(view, expected)


async def a3_empty_platform_syncs(subject: Subject) -> None:
    """A platform with nothing in it is synced, and nothing is reported."""
    async with subject.watched() as view:
        assert not view.services, view
        assert not view.instances, view


async def a4_starts_while_the_server_is_down(subject: Subject) -> None:
    """Opened while its server is down, the platform says what to do, is not synced, and catches up by itself."""
    expected = await _populate(subject, services=1, instances=1)
    await subject.world.down()
    async with subject.opened() as (_, view):
        await view.never(lambda v: v.synced > 0, subject.budgets.quiet, "Synced without a server")
        assert subject.world.problem(), "the user was told nothing"
        await subject.world.up()
        await subject.synced(view)
        _assert_at_sync(view, expected)


async def a5_cancelling_ends_within_a_second(subject: Subject) -> None:
    """A watch that is cancelled, at its first step, at a later one or while it waits, is gone within a second."""
    await _populate(subject, services=2, instances=2)
    async with subject.world.open() as platform:
        for steps in range(6):
            view = View()
            task = asyncio.create_task(_take(registry_of(platform), view, steps))
            await view.eventually(_as_long_as(steps), subject.budgets.sync, f"{steps} changes")
            await _cancelled(task, f"at step {steps}")
        view = View()
        task = asyncio.create_task(_take(registry_of(platform), view, -1))
        await subject.synced(view)
        await view.silence(subject.budgets.quiet)
        await _cancelled(task, "while waiting for changes")


async def a6_closing_leaves_nothing_behind(subject: Subject) -> None:
    """After closing, no task, thread, socket or file of the platform is left."""
    await _populate(subject, services=2, instances=2)
    async with subject.watched():
        pass
    before = _resources()
    async with subject.watched() as view:
        assert view.services
    after = _resources()
    assert after == before, f"before {before}, after {after}"


async def a7_opening_again_gives_a_fresh_view(subject: Subject) -> None:
    """Closed and opened again, the platform shows what is there now, and nothing of what went meanwhile."""
    service, other = ServiceSpec(name="stays"), ServiceSpec(name="goes")
    for spec in (service, other):
        await subject.world.put_service(spec)
        await subject.world.put_instance(InstanceSpec(service=spec.name, id="v1"))
    async with subject.watched() as view:
        assert len(view.services) == 2, view
    await subject.world.delete_service(other)
    key = await subject.world.put_instance(InstanceSpec(service="stays", id="v2"))
    async with subject.watched() as view:
        assert [found.name for found in view.services.values()] == ["stays"], view
        assert key in view.instances, view
        assert len(view.instances) == 2, view


async def a8_two_of_a_kind_do_not_share_state(subject: Subject) -> None:
    """Two open platforms of one kind see the same world; closing one leaves the other at work."""
    await _populate(subject, services=1, instances=1)
    async with subject.watched() as first:
        async with subject.watched() as second:
            assert set(first.services) == set(second.services)
        key = await subject.world.put_service(ServiceSpec(name="later"))
        await subject.soon(first, lambda v: key in v.services, "the platform still open sees a new service")
        assert key not in second.services


async def a9_importing_does_no_work(subject: Subject) -> None:
    """Importing the platform's package starts no thread, opens nothing and does not import grpc."""
    command = [sys.executable, "-c", _IMPORT, subject.world.package]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30, env=env)
    assert done.returncode == 0, done.stderr


async def a10_every_watch_is_synced_exactly_once(subject: Subject) -> None:
    """Every watch, early or late, is told the whole view and Synced exactly once."""
    expected = await _populate(subject, services=2, instances=1)
    async with subject.opened() as (platform, early):
        await subject.synced(early)
        async with watching(registry_of(platform)) as late:
            await subject.synced(late)
            _assert_at_sync(late, expected)
            marker = await subject.world.put_service(ServiceSpec(name="marker"))
            for view in (early, late):
                await subject.soon(view, lambda v: marker in v.services, "the marker is seen")
                assert view.synced == 1


async def _populate(subject: Subject, *, services: int, instances: int) -> set[ServiceKey | InstanceKey]:
    expected: set[ServiceKey | InstanceKey] = set()
    for number in range(services):
        expected.add(await subject.world.put_service(ServiceSpec(name=f"service{number}")))
        for n in range(instances):
            spec = InstanceSpec(service=f"service{number}", id=f"v{n}")
            expected.add(await subject.world.put_instance(spec))
    return expected


def _assert_at_sync(view: View, expected: set[ServiceKey | InstanceKey]) -> None:
    """What had been told at the moment of `Synced`, judged by the history and not by what came since."""
    told = View()
    for change in view.history:
        told.fold(change)
        if told.synced:
            break
    missing = expected - told.services.keys() - told.instances.keys()
    assert not missing, f"not reported before Synced: {missing}"


def _as_long_as(steps: int) -> Callable[[View], bool]:
    return lambda view: len(view.history) >= steps


async def _cancelled(task: asyncio.Task[None], when: str) -> None:
    task.cancel()
    _, pending = await asyncio.wait([task], timeout=1.0)
    assert not pending, f"still running a second after it was cancelled {when}"


async def _take(registry: ServiceRegistry, view: View, steps: int) -> None:
    async for change in registry.watch():
        view.fold(change)
        if len(view.history) == steps:
            await asyncio.Event().wait()


def _resources() -> tuple[int, list[str], int]:
    """Tasks, threads (without the loop's own pool) and open files."""
    threads = sorted(t.name for t in threading.enumerate() if not t.name.startswith("asyncio_"))
    return len(asyncio.all_tasks()), threads, len(list(Path("/proc/self/fd").iterdir()))


CASES: tuple[Case, ...] = (
    required(a1_first_view_is_complete_before_synced),
    required(a2_synced_is_never_told_on_a_part),
    required(a3_empty_platform_syncs),
    case(a4_starts_while_the_server_is_down),
    required(a5_cancelling_ends_within_a_second),
    required(a6_closing_leaves_nothing_behind),
    required(a7_opening_again_gives_a_fresh_view),
    required(a8_two_of_a_kind_do_not_share_state),
    required(a9_importing_does_no_work),
    required(a10_every_watch_is_synced_exactly_once),
)
