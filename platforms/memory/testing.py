"""The conformance harness of the in-memory platform: the world is the registry itself."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

import msgspec

from core.model.identity import SpiffeId
from core.model.labels import Labels
from core.model.protocol import Protocol, select_protocol
from core.model.service import Instance, InstanceKey, Locality, Port, Service, ServiceKey
from core.ports import Platform
from platforms.conformance.harness import Budgets, Harness, InstanceSpec, PortSpec, ServiceSpec
from platforms.memory.platform import MemoryPlatform


class MemoryHarness(Harness):
    """Subclasses break `make_memory` or `record` to see whether the suite finds out."""

    name = "memory"
    package = "platforms.memory"
    budgets = Budgets(event=1.0, sync=1.0, quiet=0.02, many=200)

    def __init__(self) -> None:
        self.memory = self.make_memory()
        self._numbers: dict[str, int] = {}

    def make_memory(self) -> MemoryPlatform:
        return MemoryPlatform()

    def record(self) -> Platform:
        """The platform under test."""
        return self.memory.record

    async def start(self) -> None:
        self.memory = self.make_memory()

    async def stop(self) -> None:
        self.memory.close()

    def open(self) -> AbstractAsyncContextManager[Platform]:
        return self._open()

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[Platform]:
        """The world outlives the platform, as a server outlives its clients."""
        yield self.record()

    async def put_service(self, service: ServiceSpec) -> ServiceKey:
        made = self._service(service)
        self.memory.registry.put(made)
        return made.key

    async def delete_service(self, service: ServiceSpec) -> None:
        key = self._key(service.name, service.namespace)
        instances = [v.key for v in self.memory.registry.values() if isinstance(v, Instance) and v.key.service == key]
        self.memory.registry.remove(*instances, key)

    async def put_instance(self, instance: InstanceSpec) -> InstanceKey:
        made = self._instance(instance)
        self.memory.registry.put(made)
        return made.key

    async def delete_instance(self, instance: InstanceSpec) -> None:
        self.memory.registry.remove(self._instance(instance).key)

    async def redeliver(self) -> None:
        for value in self.memory.registry.values():
            self.memory.registry.put(value)

    async def reorder(self) -> None:
        for value in reversed(self.memory.registry.values()):
            self.memory.registry.put(value)

    async def forget(self) -> None:
        self.memory.config.forget()

    async def put_alias(self, service: ServiceSpec, alias: str) -> None:
        self.memory.registry.put(msgspec.structs.replace(self._service(service), aliases=(alias,)))

    async def put_external(self, service: ServiceSpec, address: str) -> ServiceKey:
        await self.put_instance(InstanceSpec(service=service.name, id="outside", address=address))
        return await self.put_service(service)

    def protocols(self) -> Sequence[tuple[PortSpec, Protocol]]:
        return [(PortSpec(protocol=protocol.value), protocol) for protocol in Protocol]

    def addresses(self) -> Sequence[tuple[str, str]]:
        return [("2001:db8::7", "2001:db8::7"), ("10.1.2.3", "10.1.2.3")]

    async def share_address(self, one: InstanceSpec, other: InstanceSpec) -> None:
        for spec in (one, other):
            await self.put_instance(msgspec.structs.replace(spec, address="10.9.9.9"))

    def _key(self, name: str, namespace: str) -> ServiceKey:
        return ServiceKey(namespace, f"{name}.{namespace}.svc.cluster.local")

    def _service(self, spec: ServiceSpec) -> Service:
        return Service(
            key=self._key(spec.name, spec.namespace),
            name=spec.name,
            ports=tuple(Port(port.name, port.number, _protocol(port)) for port in spec.ports),
            addresses=() if spec.headless else (f"240.240.0.{self._number(f'{spec.namespace}/{spec.name}')}",),
            labels=Labels.of(spec.labels),
        )

    def _instance(self, spec: InstanceSpec) -> Instance:
        name = f"{spec.namespace}/{spec.service}/{spec.id}"
        identity = SpiffeId.of("cluster.local", namespace=spec.namespace, service_account=spec.service_account)
        return Instance(
            key=InstanceKey(self._key(spec.service, spec.namespace), spec.id),
            address=spec.address or f"10.0.{self._number(name) // 250}.{self._number(name) % 250 + 1}",
            ports=spec.ports or (("http", 9080),),
            labels=Labels.of(spec.labels),
            locality=Locality.parse(spec.locality),
            weight=spec.weight,
            health=spec.health,
            identity=identity,
        )

    def _number(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers) + 1)


def _protocol(port: PortSpec) -> Protocol:
    return Protocol.AUTO if port.protocol == "auto" else select_protocol(port.number, app_protocol=port.protocol)
