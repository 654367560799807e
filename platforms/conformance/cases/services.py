"""Group B: services, their names, ports and labels."""

from collections.abc import Callable

import msgspec

from core.model.protocol import Protocol
from core.model.service import ServiceKey
from platforms.conformance.case import Case, Subject, case, required
from platforms.conformance.harness import InstanceSpec, PortSpec, ServiceSpec, Unsupported
from platforms.conformance.view import View

_REVIEWS = ServiceSpec(name="reviews")


async def b1_service_appears(subject: Subject) -> None:
    """A new service appears, with its name and ports."""
    async with subject.watched() as view:
        key = await subject.world.put_service(_REVIEWS)
        await subject.soon(view, lambda v: key in v.services, "the service is seen")
        service = view.services[key]
        assert service.name == "reviews"
        assert [(port.name, port.number) for port in service.ports] == [("http", 9080)]


async def b2_service_disappears(subject: Subject) -> None:
    """A deleted service disappears, and so do its instances."""
    key = await subject.world.put_service(_REVIEWS)
    await subject.world.put_instance(InstanceSpec(service="reviews", id="v1"))
    async with subject.watched() as view:
        assert key in view.services
        await subject.world.delete_service(_REVIEWS)
        await subject.soon(view, lambda v: key not in v.services and not v.of(key), "service and instances are gone")


async def b3_recreated_service_has_no_old_instances(subject: Subject) -> None:
    """Deleted and created again under its name, a service comes without the instances it had before."""
    await subject.world.put_service(_REVIEWS)
    old = await subject.world.put_instance(InstanceSpec(service="reviews", id="old"))
    async with subject.watched() as view:
        assert old in view.instances
        await subject.world.delete_service(_REVIEWS)
        key = await subject.world.put_service(_REVIEWS)
        new = await subject.world.put_instance(InstanceSpec(service="reviews", id="new"))
        await subject.soon(
            view, lambda v: key in v.services and new in v.instances and old not in v.instances, "only the new one"
        )


async def b4_ports_are_added_removed_and_renumbered(subject: Subject) -> None:
    """Ports that are added, removed or renumbered are seen as such."""
    key = await subject.world.put_service(_REVIEWS)
    async with subject.watched() as view:
        for numbers in ([("http", 9080), ("grpc", 9090)], [("grpc", 9090)], [("grpc", 9191)]):
            ports = tuple(PortSpec(name=name, number=number, protocol=name) for name, number in numbers)
            await subject.world.put_service(msgspec.structs.replace(_REVIEWS, ports=ports))
            await subject.soon(view, _has_ports(key, numbers), f"the ports are {numbers}")


async def b5_protocols_follow_the_platforms_rules(subject: Subject) -> None:
    """Every way to declare a protocol gives the protocol that the platform's rules say."""
    table = subject.world.protocols()
    expected: dict[ServiceKey, Protocol] = {}
    for number, (port, protocol) in enumerate(table):
        expected[await subject.world.put_service(ServiceSpec(name=f"service{number}", ports=(port,)))] = protocol
    async with subject.watched() as view:
        found = {key: view.services[key].ports[0].protocol for key in expected}
        assert found == expected


async def b6_conflicting_protocols_have_one_winner(subject: Subject) -> None:
    """Two protocols declared for one port give one winner, the same every time."""
    winner = await subject.world.put_conflict(_REVIEWS)
    for _ in range(2):
        async with subject.watched() as view:
            (service,) = view.services.values()
            assert [port.protocol for port in service.ports] == [winner]


async def b7_labels_change(subject: Subject) -> None:
    """Labels of a service that are added, changed or removed are seen."""
    key = await subject.world.put_service(_REVIEWS)
    async with subject.watched() as view:
        for labels in ({"team": "a"}, {"team": "b", "tier": "1"}, {"tier": "1"}, {}):
            await subject.world.put_service(msgspec.structs.replace(_REVIEWS, labels=labels))
            await subject.soon(view, _has_labels(key, labels), f"the labels are {labels}")


async def b8_host_is_as_promised(subject: Subject) -> None:
    """The service is known by its full host name, and by further ones where the platform has them."""
    key = await subject.world.put_service(_REVIEWS)
    async with subject.watched() as view:
        assert view.services[key].name == "reviews"
        assert key.host == key.host.lower()
        assert key.host.startswith("reviews.")
        try:
            await subject.world.put_alias(_REVIEWS, "reviews.example.com")
        except Unsupported:
            return
        await subject.soon(view, lambda v: "reviews.example.com" in v.services[key].aliases, "the alias is seen")


async def b9_namespaces_are_apart(subject: Subject) -> None:
    """Services of one name in two namespaces are two services with instances of their own."""
    one, other = _REVIEWS, msgspec.structs.replace(_REVIEWS, namespace="shop")
    keys = [await subject.world.put_service(spec) for spec in (one, other)]
    specs = [InstanceSpec(service="reviews", id="v1", namespace=spec.namespace) for spec in (one, other)]
    instances = [await subject.world.put_instance(spec) for spec in specs]
    assert keys[0] != keys[1]
    async with subject.watched() as view:
        assert [[found.key for found in view.of(key)] for key in keys] == [[key] for key in instances]
        await subject.world.delete_service(one)
        await subject.soon(view, lambda v: keys[0] not in v.services, "the deleted one is gone")
        assert keys[1] in view.services
        assert instances[1] in view.instances


async def b10_virtual_addresses_are_distinct_and_stay(subject: Subject) -> None:
    """Virtual addresses are one service's own and stay while others come and go; a headless service has none."""
    specs = [ServiceSpec(name=f"service{number}") for number in range(3)]
    keys = [await subject.world.put_service(spec) for spec in specs]
    async with subject.watched() as view:
        before = {key: view.services[key].addresses for key in keys}
        every = [address for addresses in before.values() for address in addresses]
        assert len(set(every)) == len(every), before
        await subject.world.delete_service(specs[0])
        new = await subject.world.put_service(ServiceSpec(name="a-new-one"))
        await subject.soon(view, lambda v: new in v.services and keys[0] not in v.services, "one gone, one new")
        assert {key: view.services[key].addresses for key in keys[1:]} == {key: before[key] for key in keys[1:]}
        assert not set(view.services[new].addresses) & {a for key in keys[1:] for a in before[key]}
        await _check_headless(subject, view)


async def b11_external_services(subject: Subject) -> None:
    """A service outside of the platform that is registered there is seen with its address."""
    key = await subject.world.put_external(ServiceSpec(name="outside"), "203.0.113.7")
    async with subject.watched() as view:
        assert key in view.services
        assert [found.address for found in view.of(key)] == ["203.0.113.7"]


async def b12_no_instances_is_not_no_service(subject: Subject) -> None:
    """A service whose last instance went is still there."""
    key = await subject.world.put_service(_REVIEWS)
    spec = InstanceSpec(service="reviews", id="v1")
    instance = await subject.world.put_instance(spec)
    async with subject.watched() as view:
        assert instance in view.instances
        await subject.world.delete_instance(spec)
        await subject.soon(view, lambda v: not v.of(key), "the instance is gone")
        assert key in view.services


def _has_ports(key: ServiceKey, ports: list[tuple[str, int]]) -> Callable[[View], bool]:
    def holds(view: View) -> bool:
        service = view.services.get(key)
        return service is not None and [(port.name, port.number) for port in service.ports] == ports

    return holds


def _has_labels(key: ServiceKey, labels: dict[str, str]) -> Callable[[View], bool]:
    """Exactly `labels`, as far as the names go that this group uses."""

    def holds(view: View) -> bool:
        found = view.services[key].labels
        return {name: found.get(name) for name in ("team", "tier") if found.get(name)} == labels

    return holds


async def _check_headless(subject: Subject, view: View) -> None:
    try:
        key = await subject.world.put_service(ServiceSpec(name="headless", headless=True))
    except Unsupported:
        return
    await subject.soon(view, lambda v: key in v.services, "the headless service is seen")
    assert view.services[key].addresses == ()


CASES: tuple[Case, ...] = (
    required(b1_service_appears),
    required(b2_service_disappears),
    required(b3_recreated_service_has_no_old_instances),
    required(b4_ports_are_added_removed_and_renumbered),
    case(b5_protocols_follow_the_platforms_rules),
    case(b6_conflicting_protocols_have_one_winner),
    case(b7_labels_change),
    required(b8_host_is_as_promised),
    case(b9_namespaces_are_apart),
    case(b10_virtual_addresses_are_distinct_and_stay),
    case(b11_external_services),
    required(b12_no_instances_is_not_no_service),
)
