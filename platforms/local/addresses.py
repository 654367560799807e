"""Where things live: a mesh occupies one slot of loopback, and in it every workload and service has a number.

Nothing here touches the machine. Any user may bind any address in 127.0.0.0/8 on Linux, so no rights are needed.

    127.(16+slot).hi.lo      workload number hi*256+lo: what its proxy binds and others connect to
    127.(32+slot).hi.lo      its application ("twin"): only its own proxy dials it
    127.(64+8*slot).0.0/13   256 networks of /21, one per workload: its own address for every service
    240.240.hi.lo            service number hi*256+lo, below 2048: the service's virtual address, the same for all
    198.18.hi.lo             in capture `redirect`, workload number hi*256+lo: its pod (RFC 2544: not the Internet's)
"""

from collections.abc import Hashable, Iterable
from ipaddress import IPv4Address
from typing import Generic, TypeVar

import msgspec

from core.model.service import ServiceKey, WorkloadKey
from platforms.local.free_ports import free_port
from platforms.local.ledger import Ledger

SLOTS = 8
MAX_WORKLOADS = 256
MAX_SERVICES = 2047
HTTP_PROXY_PORT = 15007

_HOST_BITS = 11
_WORKLOADS = IPv4Address("127.16.0.0")
_TWINS = IPv4Address("127.32.0.0")
_NETWORKS = IPv4Address("127.64.0.0")
_SERVICES = IPv4Address("240.240.0.0")
_PODS = IPv4Address("198.18.0.0")

K = TypeVar("K", bound=Hashable)


class Numbers(Generic[K]):
    """Gives every key a number from 1 to `limit` and keeps it for the life of this object.

    Numbers are given in order, so equal files get equal numbers. A key that went away and comes back finds its number;
    only when no fresh one is left, the number of the key that was asked for longest ago is given to another.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.given: dict[K, int] = {}

    def claim(self, keys: Iterable[K]) -> dict[K, int]:
        """One number for each of `keys`. Raises `OverflowError` for more keys than there are numbers."""
        wanted = list(dict.fromkeys(keys))
        if len(wanted) > self._limit:
            raise OverflowError(f"{len(wanted)} keys for {self._limit} numbers")
        claimed = {key: self.given.pop(key) for key in wanted if key in self.given}
        for key in wanted:
            if key not in claimed:
                claimed[key] = self._fresh(claimed)
        self.given |= claimed
        return {key: claimed[key] for key in wanted}

    def _fresh(self, claimed: dict[K, int]) -> int:
        used = max((*self.given.values(), *claimed.values()), default=0)
        if used < self._limit:
            return used + 1
        return self.given.pop(next(iter(self.given)))


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of one mesh at one moment, as addresses."""

    slot: int
    workloads: dict[WorkloadKey, int]
    services: dict[ServiceKey, int]

    def workload(self, key: WorkloadKey) -> str:
        return str(_WORKLOADS + (self.slot << 16) + self.workloads[key])

    def pod(self, key: WorkloadKey) -> str:
        """Of the workload's pod. Pods have a network of their own, so meshes on one machine do not meet there."""
        return str(_PODS + self.workloads[key])

    def twin(self, key: WorkloadKey) -> str:
        """Where the application of this workload is to listen."""
        return str(_TWINS + (self.slot << 16) + self.workloads[key])

    def network(self, key: WorkloadKey) -> str:
        """The workload's own /21, which holds an address for every service."""
        return f"{self._network(key)}/{32 - _HOST_BITS}"

    def service(self, key: ServiceKey) -> str:
        """The virtual address of a service, the same in every workload's registry."""
        return str(_SERVICES + self.services[key])

    def service_for(self, client: WorkloadKey, service: ServiceKey) -> str:
        """The address on which the proxy of `client` answers for `service`."""
        return str(self._network(client) + self.services[service])

    def _network(self, key: WorkloadKey) -> IPv4Address:
        return _NETWORKS + (self.slot << 19) + ((self.workloads[key] - 1) << _HOST_BITS)


class Allocator:
    """Hands out the addresses of one mesh.

    Keep one for as long as the mesh runs. Where several processes follow one mesh file, or one of them may be started
    again, give them the same `ledger`: it keeps the numbers.
    """

    def __init__(self, slot: int, *, ledger: Ledger | None = None) -> None:
        if not 0 <= slot < SLOTS:
            raise ValueError(f"a slot is a number from 0 to {SLOTS - 1}, not {slot}")
        self._slot = slot
        self._ledger = ledger
        self._workloads: Numbers[WorkloadKey] = Numbers(MAX_WORKLOADS)
        self._services: Numbers[ServiceKey] = Numbers(MAX_SERVICES)
        self._doors: dict[tuple[WorkloadKey, int], int] = {}

    def addresses(self, workloads: Iterable[WorkloadKey], services: Iterable[ServiceKey]) -> Addresses:
        """Raises `OverflowError` beyond `MAX_WORKLOADS` or `MAX_SERVICES`; decoding a mesh file checks that first."""
        if self._ledger is None:
            return self._claim(workloads, services)
        with self._ledger.held() as entries:
            # A ledger that was emptied does not move what is running.
            self._workloads.given = dict(entries.workloads) or self._workloads.given
            self._services.given = dict(entries.services) or self._services.given
            claimed = self._claim(workloads, services)
            entries.workloads = list(self._workloads.given.items())
            entries.services = list(self._services.given.items())
        return claimed

    def door(self, gateway: WorkloadKey, port: int) -> int:
        """The free port that a gateway was given for `port`, the same for as long as the ledger lives.

        Raises `Misconfigured` when none is free.
        """
        if self._ledger is None:
            return self._door(self._doors, gateway, port)
        with self._ledger.held() as entries:
            doors = dict(entries.doors)
            found = self._door(doors, gateway, port)
            entries.doors = list(doors.items())
        return found

    def _door(self, doors: dict[tuple[WorkloadKey, int], int], gateway: WorkloadKey, port: int) -> int:
        if (gateway, port) not in doors:
            doors[gateway, port] = free_port(port, address="127.0.0.1", slot=self._slot, given=doors.values())
        return doors[gateway, port]

    def _claim(self, workloads: Iterable[WorkloadKey], services: Iterable[ServiceKey]) -> Addresses:
        return Addresses(
            slot=self._slot, workloads=self._workloads.claim(workloads), services=self._services.claim(services)
        )
