"""Opens the local platform: claims a slot, opens the store, follows the mesh file. Owns the life times of all three."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from core.errors import Misconfigured
from core.model.config import Document
from core.ports import Platform
from platforms.local.addresses import Allocator
from platforms.local.config_store import SqliteConfigStore, open_store
from platforms.local.elector import FileElector
from platforms.local.ledger import Ledger
from platforms.local.locator import FileLocator
from platforms.local.meshfile import SecretSpec
from platforms.local.registry import Apply, FileRegistry, Report, log_findings
from platforms.local.secrets import FileSecrets
from platforms.local.seed import Seeder
from platforms.local.settings import Settings
from platforms.local.slots import claimed

Clock = Callable[[], float]

LEDGER = "addresses.json"
"""In the state directory: which workload and service has which number."""

STORE = "config.sqlite"
"""In the state directory: the config store."""

LEADER = "leader"
"""In the state directory: the lock of the leading Manager, and the number of its term."""


class LocalMesh(msgspec.Struct, frozen=True, kw_only=True):
    """An opened mesh: the platform for the Manager, and `registry.plans()` for who launches its applications."""

    platform: Platform
    registry: FileRegistry
    config: SqliteConfigStore
    slot: int


@contextlib.asynccontextmanager
async def open_platform(settings: Settings, *, report: Report = log_findings) -> AsyncIterator[Platform]:
    """The local platform as any other. Raises `Misconfigured` as `open_mesh` does."""
    async with open_mesh(settings, report=report) as mesh:
        yield mesh.platform


@contextlib.asynccontextmanager
async def open_mesh(
    settings: Settings, *, report: Report = log_findings, clock: Clock = time.time
) -> AsyncIterator[LocalMesh]:
    """A broken or missing mesh file does not raise: `report` gets its diagnostics, and a change is read again.

    `report` is called after every reading, with nothing to report as well. `clock` gives seconds since the epoch.
    Raises `Misconfigured` when the slot is taken or the state directory cannot be used.
    """
    with _slot(settings) as slot:
        state = _state_directory(settings.state)
        async with open_store(state / STORE, clock=clock) as store:
            seeder = Seeder(store, store)
            allocator = Allocator(slot, ledger=Ledger(state / LEDGER))
            registry = FileRegistry(settings, allocator, report=report, apply=seeder.apply)
            secrets = FileSecrets(home=settings.mesh_file.parent, every=settings.poll_interval)
            platform = Platform(
                name="local",
                registry=registry,
                config=store,
                secrets=secrets,
                locator=FileLocator(registry),
                elector=FileElector(state / LEADER),
            )
            async with _following(registry), _reading(secrets, registry):
                yield LocalMesh(platform=platform, registry=registry, config=store, slot=slot)


async def _keep_nothing(documents: tuple[Document, ...]) -> None:
    """Documents are the Manager's business."""


@contextlib.asynccontextmanager
async def follow_plans(
    settings: Settings, *, report: Report = log_findings, read: Apply = _keep_nothing
) -> AsyncIterator[FileRegistry]:
    """The mesh file alone, for who launches its applications beside a Manager in another process: no store, no seeding.

    Addresses are the same as the Manager's, by the ledger in the state directory. `read` gets the further documents
    of every good reading. Raises as `open_mesh`.
    """
    assert settings.slot is not None
    ledger = Ledger(_state_directory(settings.state) / LEDGER)
    quiet = msgspec.structs.replace(settings, probe_interval=None)
    registry = FileRegistry(quiet, Allocator(settings.slot, ledger=ledger), report=report, apply=read)
    async with _following(registry):
        yield registry


def _slot(settings: Settings) -> contextlib.AbstractContextManager[int]:
    if settings.slot_held and settings.slot is not None:
        return contextlib.nullcontext(settings.slot)
    return claimed(settings.slot)


@contextlib.asynccontextmanager
async def _following(registry: FileRegistry) -> AsyncIterator[None]:
    """A bug in the follower reaches everybody who watches, at once."""
    task = asyncio.create_task(registry.follow(), name="mesh file")
    task.add_done_callback(lambda done: registry.close(None if done.cancelled() else done.exception()))
    try:
        await registry.ready()
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        registry.close()


@contextlib.asynccontextmanager
async def _reading(secrets: FileSecrets, registry: FileRegistry) -> AsyncIterator[None]:
    """As `_following`."""
    task = asyncio.create_task(secrets.follow(lambda: _wanted(registry)), name="secrets")
    task.add_done_callback(lambda done: secrets.close(None if done.cancelled() else done.exception()))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        secrets.close()


def _wanted(registry: FileRegistry) -> tuple[SecretSpec, ...] | None:
    return registry.plan.secrets if registry.plan is not None else None


def _state_directory(path: Path) -> Path:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
    except OSError as error:
        reason = error.strerror or str(error)
        raise Misconfigured(f"the state directory {path} cannot be used: {reason}", fix="choose another") from error
    return path
