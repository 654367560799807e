"""What the author of a platform writes: how to open it, and how to change its world from the other side.

The world operations must act on the platform itself (its server, its files), never on the adapter under test.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from core.model.config import Document
from core.model.protocol import Protocol as WireProtocol
from core.model.service import Health, InstanceKey, ServiceKey
from core.ports import Platform


class Unsupported(Exception):
    """This platform has no such thing; the message says why. The case is skipped with that reason."""


class Budgets(msgspec.Struct, frozen=True, kw_only=True):
    """How long things may take on this platform, in seconds, and how large the larger cases are.

    `failover`: until somebody leads after the leader has died.
    """

    event: float = 2.0
    sync: float = 5.0
    quiet: float = 0.3
    failover: float = 5.0
    many: int = 60


class PortSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A port to declare; `protocol` in whatever words the platform has for it, "" for none."""

    name: str = "http"
    number: int = 9080
    protocol: str = "http"


class ServiceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A service to bring about. `headless`: without a virtual address."""

    name: str
    namespace: str = "default"
    ports: tuple[PortSpec, ...] = (PortSpec(),)
    labels: dict[str, str] = {}
    headless: bool = False


class InstanceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """An instance to bring about. Empty `ports` and `address` leave the choice to the harness.

    `ports` are pairs of a service port's name and the number the instance listens on.
    """

    service: str
    id: str
    namespace: str = "default"
    ports: tuple[tuple[str, int], ...] = ()
    address: str = ""
    labels: dict[str, str] = {}
    locality: str = ""
    weight: int = 1
    service_account: str = "default"
    health: Health = Health.HEALTHY


class Rival(Protocol):
    """A candidate in a process of its own that has been elected, and acts all the time while it leads."""

    @property
    def term(self) -> int: ...

    async def acting(self) -> bool:
        """Whether it still does what only a leader may do."""
        ...

    async def kill(self) -> None:
        """Ends its process at once, with no chance to give anything up."""
        ...

    async def freeze(self) -> None:
        """Stops its process until `thaw`; from outside it looks alive."""
        ...

    async def thaw(self) -> None: ...

    async def cut(self) -> None:
        """Takes away its connection to what elects. It lives on."""
        raise Unsupported("there is no connection that could be cut")

    async def skew(self, seconds: float) -> None:
        """Puts its clock forward."""
        raise Unsupported("no clock has a say in who leads")


class Harness(Protocol):
    """One platform and its world. Every case gets a fresh one, started before and stopped after it.

    Subclass it: the operations below the line are optional, and raise `Unsupported` unless you override them.
    """

    name: str
    package: str
    budgets: Budgets

    async def start(self) -> None:
        """Makes an empty world."""
        ...

    async def stop(self) -> None:
        """Removes everything that `start` and the operations made."""
        ...

    def open(self) -> AbstractAsyncContextManager[Platform]:
        """Opens the platform under test on this world; may be called several times, also at once."""
        ...

    async def put_service(self, service: ServiceSpec) -> ServiceKey:
        """Creates or replaces; returns the key the registry must use."""
        ...

    async def delete_service(self, service: ServiceSpec) -> None:
        """Deletes the service and what belongs to it alone."""
        ...

    async def put_instance(self, instance: InstanceSpec) -> InstanceKey:
        """Creates or replaces; returns the key the registry must use."""
        ...

    async def delete_instance(self, instance: InstanceSpec) -> None: ...

    # --- optional ---

    async def put_instances(self, instances: Sequence[InstanceSpec]) -> None:
        """Several at once, as fast as the platform takes them."""
        for instance in instances:
            await self.put_instance(instance)

    async def set_health(self, instance: InstanceSpec, health: Health) -> None:
        await self.put_instance(msgspec.structs.replace(instance, health=health))

    async def redeliver(self) -> None:
        """Makes the platform send its newest events once more."""
        raise Unsupported("this platform sends no events that could come twice")

    async def reorder(self) -> None:
        """Makes the platform send what is there in another order."""
        raise Unsupported("this platform sends no events that could change places")

    async def down(self) -> None:
        """Makes the platform's server (or file) unreachable; called before `open`."""
        raise Unsupported("there is no server that could be down")

    async def up(self) -> None:
        """Undoes `down`."""
        raise Unsupported("there is no server that could be down")

    def problem(self) -> str:
        """What the platform told its user about the last thing that went wrong, with what to do about it."""
        raise Unsupported("there is no server that could be down")

    async def put_alias(self, service: ServiceSpec, alias: str) -> None:
        """Makes the service known under a further full host name."""
        raise Unsupported("services have no further names here")

    async def put_external(self, service: ServiceSpec, address: str) -> ServiceKey:
        """Registers a service whose only instance is outside of the platform, at `address`."""
        raise Unsupported("nothing outside can be registered here")

    async def put_conflict(self, service: ServiceSpec) -> WireProtocol:
        """Declares two protocols for the service's port; returns the one that must win."""
        raise Unsupported("a port cannot have two protocols here")

    def protocols(self) -> Sequence[tuple[PortSpec, WireProtocol]]:
        """The platform's rules: what is declared, and which protocol that must give."""
        raise Unsupported("this platform does not declare protocols")

    def addresses(self) -> Sequence[tuple[str, str]]:
        """Spellings of addresses the platform accepts, and how the registry must write them."""
        raise Unsupported("addresses are allotted by the platform")

    async def share_address(self, one: InstanceSpec, other: InstanceSpec) -> None:
        """Puts two instances of different services on one address."""
        raise Unsupported("an address belongs to one service here")

    async def register_twice(self, instance: InstanceSpec) -> None:
        """Registers the same address a second time for the same service."""
        raise Unsupported("the platform cannot register an address twice")

    async def put_without_address(self, instance: InstanceSpec) -> None:
        """An instance that has no address yet."""
        raise Unsupported("an instance has its address from the beginning")

    async def forget(self) -> None:
        """Makes the config store forget every change so far, while platforms are open."""
        raise Unsupported("the store's memory cannot be cut short from outside")

    def largest(self) -> int:
        """How many bytes a document may have at most."""
        raise Unsupported("the store itself sets no limit; the config API does")

    def invalid(self) -> tuple[Document, str]:
        """A document that the store must refuse, and the field that its error must name."""
        raise Unsupported("the store takes every spec; the config API looks at it before")

    def rival(self) -> AbstractAsyncContextManager[Rival]:
        """Another process, elected; the platforms opened here wait behind it."""
        raise Unsupported("there is only one process here")
