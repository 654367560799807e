"""Group C: instances, where they are, how they are, and who they are."""

from collections.abc import Callable

import msgspec

from core.model.service import Health, Instance, InstanceKey, Locality
from platforms.conformance.case import Case, Subject, case, required
from platforms.conformance.harness import InstanceSpec, PortSpec, ServiceSpec
from platforms.conformance.view import View

_SERVICE = ServiceSpec(name="reviews")
_V1 = InstanceSpec(service="reviews", id="v1")


async def c1_instance_appears(subject: Subject) -> None:
    """A new instance appears under its service, with an address and a number for every port."""
    service = await subject.world.put_service(_SERVICE)
    async with subject.watched() as view:
        key = await subject.world.put_instance(_V1)
        await subject.soon(view, lambda v: key in v.instances, "the instance is seen")
        assert key.service == service
        assert view.instances[key].address
        assert view.instances[key].port("http")


async def c2_instance_disappears(subject: Subject) -> None:
    """A removed instance disappears, and no other."""
    await subject.world.put_service(_SERVICE)
    keys = [await subject.world.put_instance(_with(id=name)) for name in ("v1", "v2")]
    async with subject.watched() as view:
        assert set(keys) <= view.instances.keys()
        await subject.world.delete_instance(_V1)
        await subject.soon(view, lambda v: keys[0] not in v.instances, "the removed one is gone")
        assert keys[1] in view.instances


async def c3_address_changes(subject: Subject) -> None:
    """An instance that moves to another address is seen there, and no longer at the old one."""
    service = await subject.world.put_service(_SERVICE)
    await subject.world.put_instance(_with(address="10.0.0.1"))
    async with subject.watched() as view:
        await subject.world.put_instance(_with(address="10.0.0.2"))
        await subject.soon(view, lambda v: [i.address for i in v.of(service)] == ["10.0.0.2"], "only the new address")


async def c4_port_changes(subject: Subject) -> None:
    """An instance that comes back on another port number is seen with that."""
    await subject.world.put_service(_SERVICE)
    key = await subject.world.put_instance(_with(ports=(("http", 31001),)))
    async with subject.watched() as view:
        assert view.instances[key].port("http") == 31001
        await subject.world.put_instance(_with(ports=(("http", 31002),)))
        await subject.soon(view, lambda v: v.instances[key].port("http") == 31002, "the new number is seen")


async def c5_health_goes_and_comes_back(subject: Subject) -> None:
    """An instance that fails and recovers is seen healthy, not healthy, healthy."""
    await subject.world.put_service(_SERVICE)
    key = await subject.world.put_instance(_V1)
    async with subject.watched() as view:
        for health in (Health.HEALTHY, Health.UNHEALTHY, Health.HEALTHY):
            await subject.world.set_health(_V1, health)
            await subject.soon(view, _is(key, health), f"the instance is {health}")


async def c6_starting_is_not_ready(subject: Subject) -> None:
    """An instance whose health is not known yet does not count as healthy."""
    await subject.world.put_service(_SERVICE)
    key = await subject.world.put_instance(_with(health=Health.UNKNOWN))
    async with subject.watched() as view:
        await view.never(lambda v: _health(v, key) is Health.HEALTHY, subject.budgets.quiet, "healthy unseen")
        await subject.world.set_health(_V1, Health.HEALTHY)
        await subject.soon(view, lambda v: _health(v, key) is Health.HEALTHY, "the instance is ready")


async def c7_draining_is_told_apart(subject: Subject) -> None:
    """An instance that is being taken out is seen draining: neither healthy nor gone."""
    await subject.world.put_service(_SERVICE)
    key = await subject.world.put_instance(_V1)
    async with subject.watched() as view:
        await subject.world.set_health(_V1, Health.DRAINING)
        await subject.soon(view, lambda v: _health(v, key) is Health.DRAINING, "the instance is draining")


async def c8_labels_move_an_instance_at_once(subject: Subject) -> None:
    """A changed label moves an instance between subsets in one step: at no time in none or in both."""
    await subject.world.put_service(_SERVICE)
    key = await subject.world.put_instance(_with(labels={"version": "v1", "tier": "1"}))
    async with subject.watched() as view:
        await subject.world.put_instance(_with(labels={"version": "v2", "tier": "2"}))
        await subject.soon(view, lambda v: _tagged(v, key) == ("v2", "2"), "the new labels are seen")
        removals = [change for change in view.history if getattr(change, "key", None) == key]
        assert not removals, "the instance was gone for a moment"
        seen = {(put.labels.get("version"), put.labels.get("tier")) for put in view.puts(key)}
        assert seen == {("v1", "1"), ("v2", "2")}, seen


async def c9_weight(subject: Subject) -> None:
    """The weight of an instance, and its change, are seen."""
    await subject.world.put_service(_SERVICE)
    key = await subject.world.put_instance(_with(weight=5))
    async with subject.watched() as view:
        assert view.instances[key].weight == 5
        await subject.world.put_instance(_with(weight=7))
        await subject.soon(view, lambda v: v.instances[key].weight == 7, "the new weight is seen")


async def c10_locality(subject: Subject) -> None:
    """Where an instance runs, and a change of that, are seen."""
    await subject.world.put_service(_SERVICE)
    key = await subject.world.put_instance(_with(locality="eu/1a"))
    async with subject.watched() as view:
        assert view.instances[key].locality == Locality("eu", "1a")
        await subject.world.put_instance(_with(locality="eu/1b/rack7"))
        expected = Locality("eu", "1b", "rack7")
        await subject.soon(view, lambda v: v.instances[key].locality == expected, "the new locality is seen")


async def c11_identity(subject: Subject) -> None:
    """Who an instance is, and a change of that, are seen."""
    await subject.world.put_service(_SERVICE)
    key = await subject.world.put_instance(_with(service_account="reviews"))
    async with subject.watched() as view:
        before = view.instances[key].identity
        assert before is not None
        assert "reviews" in str(before)
        await subject.world.put_instance(_with(service_account="other"))
        await subject.soon(view, lambda v: v.instances[key].identity not in (None, before), "another identity is seen")


async def c12_several_ports(subject: Subject) -> None:
    """An instance has a number of its own for every named port of its service."""
    ports = (PortSpec(), PortSpec(name="grpc", number=9090, protocol="grpc"))
    await subject.world.put_service(msgspec.structs.replace(_SERVICE, ports=ports))
    key = await subject.world.put_instance(_with(ports=(("http", 8080), ("grpc", 8090))))
    async with subject.watched() as view:
        instance = view.instances[key]
        assert [instance.port("http"), instance.port("grpc")] == [8080, 8090]


async def c13_addresses_are_written_one_way(subject: Subject) -> None:
    """IPv6 and other spellings of addresses come out in their canonical form."""
    await subject.world.put_service(_SERVICE)
    expected: dict[InstanceKey, str] = {}
    for number, (given, canonical) in enumerate(subject.world.addresses()):
        expected[await subject.world.put_instance(_with(id=f"v{number}", address=given))] = canonical
    async with subject.watched() as view:
        assert {key: view.instances[key].address for key in expected} == expected


async def c14_one_address_in_two_services(subject: Subject) -> None:
    """One address may serve two services; when it leaves one, it stays in the other."""
    for name in ("reviews", "ratings"):
        await subject.world.put_service(ServiceSpec(name=name))
    other = InstanceSpec(service="ratings", id="v1")
    await subject.world.share_address(_V1, other)
    async with subject.watched() as view:
        assert len({found.address for found in view.instances.values()}) == 1, view
        assert len(view.instances) == 2, view
        await subject.world.delete_instance(_V1)
        await subject.soon(view, lambda v: len(v.instances) == 1, "one of two is left")
        assert [key.service.host.split(".")[0] for key in view.instances] == ["ratings"]


async def c15_an_address_counts_once(subject: Subject) -> None:
    """An address that is registered twice for a service counts once."""
    service = await subject.world.put_service(_SERVICE)
    await subject.world.register_twice(_V1)
    async with subject.watched() as view:
        assert len(view.of(service)) == 1, view


async def c16_without_an_address_withheld(subject: Subject) -> None:
    """An instance without an address is withheld until it has one."""
    service = await subject.world.put_service(_SERVICE)
    await subject.world.put_without_address(_V1)
    async with subject.watched() as view:
        assert not view.of(service), view
        key = await subject.world.put_instance(_V1)
        await subject.soon(view, lambda v: key in v.instances, "the instance is seen once it has an address")


def _with(**changes: object) -> InstanceSpec:
    return msgspec.structs.replace(_V1, **changes)


def _is(key: InstanceKey, health: Health) -> Callable[[View], bool]:
    return lambda view: _health(view, key) is health


def _health(view: View, key: InstanceKey) -> Health | None:
    found = view.instances.get(key)
    return found.health if found else None


def _tagged(view: View, key: InstanceKey) -> tuple[str, str]:
    found: Instance = view.instances[key]
    return found.labels.get("version"), found.labels.get("tier")


CASES: tuple[Case, ...] = (
    required(c1_instance_appears),
    required(c2_instance_disappears),
    case(c3_address_changes),
    case(c4_port_changes),
    case(c5_health_goes_and_comes_back),
    required(c6_starting_is_not_ready),
    case(c7_draining_is_told_apart),
    required(c8_labels_move_an_instance_at_once),
    case(c9_weight),
    case(c10_locality),
    case(c11_identity),
    case(c12_several_ports),
    case(c13_addresses_are_written_one_way),
    case(c14_one_address_in_two_services),
    case(c15_an_address_counts_once),
    case(c16_without_an_address_withheld),
)
