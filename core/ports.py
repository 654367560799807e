"""What a platform is: a frozen record of ports. An absent port is None; there are no capability flags."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Protocol, runtime_checkable

import msgspec

from core.diagnostics import Diagnostic, Reported
from core.model.change import ConfigChange, RegistryChange, SecretChange
from core.model.config import ConfigKey, Document, Revised, Snapshot, Write
from core.model.identity import SpiffeId
from core.model.workload import Node, Workload


@runtime_checkable
class ServiceRegistry(Protocol):
    """Where services, instances and workloads are known."""

    def watch(self) -> AsyncIterator[RegistryChange]:
        """What exists, then `Synced` once, then every change.

        Never raises for a broken connection: it retries inside, re-lists, and yields the difference, removals
        included. Cancelling or closing the iterator releases everything it holds.
        """
        ...


@runtime_checkable
class ConfigStore(Protocol):
    """Where configuration documents are kept."""

    def watch(self) -> AsyncIterator[ConfigChange]:
        """As `ServiceRegistry.watch`, for documents."""
        ...

    async def get(self, key: ConfigKey) -> Document | None: ...

    async def list(self, *, group: str = "", kind: str = "", namespace: str = "") -> tuple[Document, ...]:
        """Documents in key order; an empty argument matches everything."""
        ...

    async def put(self, document: Document) -> Document:
        """Writes and returns the stored document.

        `document.revision` must equal the stored one ("" means: must not exist yet), else raises `Conflict`.
        A spec, labels and annotations equal to the stored ones change nothing and return what is stored.
        """
        ...

    async def delete(self, key: ConfigKey, *, revision: str = "") -> None:
        """Raises `NotFound`, or `Conflict` when `revision` is given and is not the stored one."""
        ...

    async def report(self, key: ConfigKey, diagnostics: tuple[Diagnostic, ...]) -> None:
        """Keeps the newest findings as the document's status; never changes its revision or generation."""
        ...


@runtime_checkable
class VersionedStore(ConfigStore, Protocol):
    """A config store that the config API can stand on: one sequence of revisions, several writes at once, a memory.

    A report that says something new has a revision of its own in the sequence, and changes that of no document.
    """

    async def snapshot(self, *, group: str = "", kind: str = "", namespace: str = "") -> Snapshot:
        """As `list`, with the revision from which `changes` goes on."""
        ...

    def changes(self, since: str) -> AsyncIterator[Revised]:
        """Every change after revision `since`, each one, in order, and then those to come.

        Raises `Expired` when `since` lies further back than is remembered, or is no revision of this store.
        """
        ...

    def events(self, since: str) -> AsyncIterator[Revised | Reported]:
        """As `changes`, with every report that said something new at its place among them.

        A report may be left out when a newer one about the same document follows.
        """
        ...

    async def commit(self, writes: tuple[Write, ...], *, author: str = "") -> tuple[Document | None, ...]:
        """All writes or none, as one transaction; what is stored afterwards for each, None for what was removed.

        Each as by `put` and `delete`, whose errors it raises.
        """
        ...

    async def history(self, key: ConfigKey) -> tuple[Revised, ...]:
        """The changes of one document that are remembered, oldest first; also of one that is gone."""
        ...

    async def status(self, key: ConfigKey) -> tuple[Diagnostic, ...]:
        """The findings that were last reported; none for an unknown document."""
        ...

    async def reported(
        self, *, group: str = "", kind: str = "", namespace: str = "", name: str = ""
    ) -> tuple[Reported, ...]:
        """What was last reported about stored documents, in key order; an empty argument matches everything.

        Of a document that nothing was ever found about, there need be none.
        """
        ...

    async def judged(self, key: ConfigKey) -> Mapping[str, tuple[Diagnostic, ...]]:
        """By revision of the document's history: what was last reported while that was the newest. None is left out."""
        ...


@runtime_checkable
class SecretStore(Protocol):
    """Where the certificates of gateways are kept."""

    def watch(self) -> AsyncIterator[SecretChange]:
        """As `ServiceRegistry.watch`, for secrets. One that cannot be read is told with its `problem`."""
        ...


@runtime_checkable
class Attestor(Protocol):
    """Tells who presents a credential."""

    async def attest(self, credential: bytes) -> SpiffeId:
        """Raises `Denied` when the credential is not good, `Unavailable` when that cannot be told now."""
        ...


@runtime_checkable
class Locator(Protocol):
    """Tells which workload a proxy stands beside."""

    def locate(self, node: Node) -> Workload | None: ...


@runtime_checkable
class Elector(Protocol):
    """Chooses one of several processes that share a platform."""

    async def lead(self, work: Callable[[int], Awaitable[None]]) -> None:
        """Waits until this process leads, runs `work` with the number of its term, and gives the lead up when it ends.

        Terms grow from leader to leader, also across restarts of everybody: what carries an older one is stale.
        When the lead is lost, `work` is cancelled and `Unavailable` raised. Who is cancelled leads no more.
        """
        ...


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """One opened platform. `open_platform(settings)` yields it and owns its life time."""

    name: str
    registry: ServiceRegistry | None = None
    config: ConfigStore | None = None
    secrets: SecretStore | None = None
    attestor: Attestor | None = None
    locator: Locator | None = None
    elector: Elector | None = None
