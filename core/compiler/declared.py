"""What a declaration brings into being: services and instances like those of platforms, under keys of their own."""

import msgspec

from core.ir.declared import Declaration, DeclaredEndpoint
from core.model.service import Instance, InstanceKey, Resolution, Service, ServiceKey


class Declared(msgspec.Struct, frozen=True):
    services: tuple[Service, ...] = ()
    instances: tuple[Instance, ...] = ()


NOTHING = Declared()


def service_keys(declaration: Declaration) -> tuple[ServiceKey, ...]:
    """One key for each host. A platform's service of the same host has another one."""
    config = declaration.origin.config
    return tuple(ServiceKey(config.namespace, host, config.name) for host in declaration.hosts)


def declared(declaration: Declaration | None) -> Declared:
    """Everything that exists because of a document."""
    if declaration is None:
        return NOTHING
    keys = service_keys(declaration)
    return Declared(
        services=tuple(_service(declaration, key) for key in keys),
        instances=tuple(instance for key in keys for instance in _instances(declaration, key)),
    )


def _service(declaration: Declaration, key: ServiceKey) -> Service:
    return Service(
        key=key,
        name=key.host,
        ports=tuple(each.port for each in declaration.ports),
        addresses=declaration.addresses,
        created=declaration.created,
        resolution=declaration.resolution,
        visible_to=declaration.visible_to,
        origin=declaration.origin,
    )


def _instances(declaration: Declaration, key: ServiceKey) -> list[Instance]:
    endpoints = declaration.endpoints or _itself(declaration, key)
    return [_instance(declaration, endpoint, InstanceKey(key, str(i))) for i, endpoint in enumerate(endpoints)]


def _itself(declaration: Declaration, key: ServiceKey) -> tuple[DeclaredEndpoint, ...]:
    return (DeclaredEndpoint(address=key.host),) if declaration.resolution is Resolution.DNS else ()


def _instance(declaration: Declaration, endpoint: DeclaredEndpoint, key: InstanceKey) -> Instance:
    numbers = {each.port.name: each.target for each in declaration.ports} | dict(endpoint.ports)
    return Instance(
        key=key,
        address=endpoint.address,
        ports=tuple(numbers.items()),
        labels=endpoint.labels,
        locality=endpoint.locality,
        weight=endpoint.weight,
    )
