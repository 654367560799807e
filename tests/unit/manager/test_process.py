"""Putting a Manager together, and what it says when it cannot be."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from dependency_injector import providers

from core.diagnostics import Diagnostic
from core.errors import Misconfigured, NotFound, Unavailable
from core.manager.container import ManagerContainer
from core.manager.manager import Manager
from core.manager.paths import xds_socket
from core.manager.settings import Settings
from core.manager.testing.facts import Plane, change, document, service, workload, workload_key
from core.model.change import WorkloadGone
from core.model.config import ConfigKey
from core.model.labels import Labels
from core.model.service import WorkloadKey
from core.plugins import open_platform
from platforms.memory import MemoryPlatform


@pytest.fixture
def container(tmp_path: Path) -> ManagerContainer:
    return ManagerContainer(settings=Settings(state=tmp_path), platform=MemoryPlatform().record)


async def test_every_part_can_be_made(container: ManagerContainer) -> None:
    """A misspelt argument of a provider is found here and nowhere else."""
    made = {name: provider() for name, provider in container.providers.items()}
    assert isinstance(made["manager"], Manager)
    singletons = [n for n, p in container.providers.items() if isinstance(p, providers.Singleton)]
    assert all(container.providers[name]() is made[name] for name in singletons)


@pytest.mark.parametrize("port", ["registry", "config"])
async def test_a_platform_without_what_a_manager_needs_is_refused(port: str, tmp_path: Path) -> None:
    """It says what is missing."""
    lacking = msgspec.structs.replace(MemoryPlatform().record, **{port: None})
    container = ManagerContainer(settings=Settings(state=tmp_path), platform=lacking)
    with pytest.raises(Misconfigured, match="platform memory has no service registry or no config store"):
        container.manager()


def test_an_unknown_platform_is_refused() -> None:
    """The installed ones are named."""
    with pytest.raises(Misconfigured, match=r"no platform 'moon' is installed; there are: .*local"):
        open_platform("moon", {})


@pytest.mark.parametrize("options", [{}, {"mesh_file": "x", "state": "y", "slot": "many"}])
def test_settings_that_a_platform_does_not_take_are_refused(options: dict[str, object]) -> None:
    """The platform and the field are named."""
    with pytest.raises(Misconfigured, match=r"settings of platform 'local': .*(mesh_file|slot)"):
        open_platform("local", options)


def test_the_program_says_what_is_wrong_in_two_lines(tmp_path: Path) -> None:
    """An expected failure, however deep in groups: no traceback, exit code 1."""
    settings = msgspec.json.encode({"state": str(tmp_path), "platform": "moon"}).decode()
    done = subprocess.run([sys.executable, "-m", "core.manager", settings], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith("error: no platform 'moon' is installed")
    assert done.stderr.splitlines()[1].startswith("fix:")
    assert "Traceback" not in done.stderr


def test_a_manager_that_waits_for_its_platform_can_be_stopped(tmp_path: Path) -> None:
    """SIGTERM before it was ready: it ends at once, with exit code 0."""
    (tmp_path / "mesh.yaml").write_text("services: [")
    options = {"mesh_file": str(tmp_path / "mesh.yaml"), "state": str(tmp_path / "state")}
    settings = msgspec.json.encode({"state": str(tmp_path / "state"), "options": options}).decode()
    process = subprocess.Popen([sys.executable, "-m", "core.manager", settings], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    # Said once the file has been read: from then on it waits for a better one.
    assert "MSH2002" in process.stderr.readline()
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(5) == 0
    process.stderr.close()


def test_paths_of_sockets_fit() -> None:
    """Long names are shortened and stay apart; short ones stay readable."""
    state = Path("/state")
    assert xds_socket(state, workload_key("a")).name == "a.default"
    one, other = (xds_socket(state, WorkloadKey("default", "x" * 60 + end)) for end in "ab")
    assert one != other
    assert len(one.name) <= 40


# -- the Pusher tells who has to come back -----------------------------------------------------------------------------


def test_a_workload_that_is_another_caller_now_is_regrouped() -> None:
    """Its labels count as soon as a rule asks for them; what no rule asks for is no reason."""
    asking = {"match": [{"sourceLabels": {"version": "v1"}}], "redirect": {"uri": "/"}}
    plane = Plane(workload("a"), service("web"))
    plane.connected("a")
    regrouped: list[WorkloadKey] = []
    plane.pusher.on_regroup(regrouped.append)
    plane.told(msgspec.structs.replace(workload("a"), labels=Labels.of({"version": "v1", "x": "y"})))
    assert regrouped == []
    plane.told(document("VirtualService", "r", {"hosts": ["web"], "http": [asking]}))
    assert regrouped == [workload_key("a")]
    plane.connected("a")
    plane.told(msgspec.structs.replace(workload("a"), labels=Labels.of({"version": "v2"})))
    assert regrouped == [workload_key("a")] * 2


def test_a_workload_that_went_and_came_back_is_regrouped() -> None:
    """Its proxy may still follow groups that nobody fills any more."""
    plane = Plane(workload("a"), service("web"))
    plane.connected("a")
    regrouped: list[WorkloadKey] = []
    plane.pusher.on_regroup(regrouped.append)
    plane.pusher.apply(WorkloadGone(workload_key("a")))
    assert regrouped == []
    plane.pusher.apply(change(workload("a")))
    assert regrouped == [], "not while its new groups are empty"
    plane.pusher.settle()
    assert regrouped == [workload_key("a")]


def test_a_proxy_without_a_workload_has_no_groups() -> None:
    """It is told that its workload has to be there first."""
    with pytest.raises(NotFound, match=r"no workload a\.default is registered"):
        Plane().pusher.groups(workload_key("a"))


# -- findings are told -------------------------------------------------------------------------------------------------


async def test_a_store_that_cannot_take_findings_now_gets_them_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It does not bring the Manager down."""
    platform = MemoryPlatform()
    report, failures = platform.config.report, [Unavailable("busy")]

    async def contested(key: ConfigKey, diagnostics: tuple[Diagnostic, ...]) -> None:
        if failures:
            raise failures.pop()
        await report(key, diagnostics)

    platform.config.report = contested  # type: ignore[method-assign]
    rule = document("VirtualService", "r", {"hosts": ["web"], "http": [{"route": [{"destination": {"host": "no"}}]}]})
    await platform.config.apply(rule)
    manager = ManagerContainer(settings=Settings(state=tmp_path), platform=platform.record).manager()
    working = asyncio.create_task(manager.run())
    caplog.set_level(logging.ERROR)
    async with asyncio.timeout(5):
        while not await platform.config.status(rule.key):
            await asyncio.sleep(0.01)
            assert not working.done(), working.exception()
    assert failures == []
    working.cancel()
    await asyncio.wait([working])
