"""Group D: what changes look like on the way, and that none is lost."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable

from core.model.change import InstanceGone, InstancePut, RegistryChange
from core.model.service import InstanceKey, ServiceKey
from platforms.conformance.case import Case, Subject, case, required
from platforms.conformance.harness import InstanceSpec, ServiceSpec
from platforms.conformance.view import View, registry_of, watching

_SERVICE = ServiceSpec(name="reviews")
_SEED = 20260


async def d1_every_final_state_is_told(subject: Subject) -> None:
    """After several quick changes the last state is told."""
    await subject.world.put_service(_SERVICE)
    key = await subject.world.put_instance(_rev(0))
    async with subject.watched() as view:
        for number in range(1, 8):
            await subject.world.put_instance(_rev(number))
        await subject.soon(view, lambda v: _number(v, key) == 7, "the last of seven states is seen")


async def d2_states_never_go_backwards(subject: Subject) -> None:
    """The states told for one key come in the order they were made; some may be left out."""
    await subject.world.put_service(_SERVICE)
    key = await subject.world.put_instance(_rev(0))
    async with subject.watched() as view:
        for number in range(1, 6):
            await subject.world.put_instance(_rev(number))
            await subject.soon(view, _reached(key, number), f"state {number} is seen")
        numbers = [int(put.labels.get("rev", "0")) for put in view.puts(key)]
        assert numbers == sorted(numbers), numbers


async def d3_a_write_that_changes_nothing_is_silent(subject: Subject) -> None:
    """Writing what is there already causes no event."""
    service = await subject.world.put_service(_SERVICE)
    key = await subject.world.put_instance(_rev(1))
    async with subject.watched() as view:
        await _settled(subject, view, key)
        before = len(view.history)
        await subject.world.put_service(_SERVICE)
        await subject.world.put_instance(_rev(1))
        await _marked(subject, view)
        assert _about(view, before, key) == []
        assert len(view.puts(service)) == 1


async def d4_events_that_come_twice_change_nothing(subject: Subject) -> None:
    """Platform events that are delivered twice cause no event."""
    await subject.world.put_service(_SERVICE)
    key = await subject.world.put_instance(_rev(1))
    async with subject.watched() as view:
        await _settled(subject, view, key)
        before = len(view.history)
        await subject.world.redeliver()
        await _marked(subject, view)
        assert _about(view, before, key) == []


async def d5_events_in_another_order_converge(subject: Subject) -> None:
    """The same things told in another order are the same view, and nothing is gone in between."""
    for number in range(3):
        await subject.world.put_service(ServiceSpec(name=f"service{number}"))
        await subject.world.put_instance(InstanceSpec(service=f"service{number}", id="v1"))
    async with subject.watched() as view:
        expected = set(view.services), set(view.instances)
        addresses = {key: found.address for key, found in view.instances.items()}
        before = len(view.history)
        await subject.world.reorder()
        marker = await _marked(subject, view)
        assert (set(view.services) - {marker}, set(view.instances)) == expected
        assert {key: found.address for key, found in view.instances.items()} == addresses
        assert not [change for change in view.history[before:] if isinstance(change, InstanceGone)]


async def d6_a_burst_is_coalesced(subject: Subject) -> None:
    """A burst of changes to one instance costs far fewer events than changes, within the budget of one."""
    await subject.world.put_service(_SERVICE)
    key = await subject.world.put_instance(_rev(0))
    count = subject.budgets.many
    async with subject.watched() as view:
        before = len(view.history)
        await subject.world.put_instances([_rev(number) for number in range(1, count + 1)])
        await subject.soon(view, lambda v: _number(v, key) == count, "the last state is seen")
        events = len(_about(view, before, key))
        assert events <= max(2, count // 5), f"{events} events for {count} changes"


async def d7_a_slow_consumer_gets_the_newest(subject: Subject) -> None:
    """A consumer that stands still neither stops others nor collects a queue: it then gets the newest states only."""
    await subject.world.put_service(_SERVICE)
    key = await subject.world.put_instance(_rev(0))
    async with subject.world.open() as platform:
        slow = registry_of(platform).watch()
        await anext(slow)
        async with watching(registry_of(platform)) as view:
            await subject.synced(view)
            for number in range(1, 21):
                await subject.world.put_instance(_rev(number))
                await subject.soon(view, _reached(key, number), f"state {number} is seen")
        read = await asyncio.wait_for(_until(slow, key, 20), subject.budgets.sync)
        assert read <= 3, f"{read} states of one instance were queued"


async def d8_changes_are_seen_in_time(subject: Subject) -> None:
    """The slowest of twenty changes is seen within the budget."""
    await subject.world.put_service(_SERVICE)
    key = await subject.world.put_instance(_rev(0))
    taken: list[float] = []
    async with subject.watched() as view:
        for number in range(1, 21):
            await subject.world.put_instance(_rev(number))
            began = time.monotonic()
            await subject.soon(view, _reached(key, number), f"state {number} is seen")
            taken.append(time.monotonic() - began)
    assert max(taken) <= subject.budgets.event, sorted(taken)[-3:]


async def d9_one_consumer_that_fails_is_alone(subject: Subject) -> None:
    """A consumer that breaks off with an error does not disturb another."""
    await subject.world.put_service(_SERVICE)
    async with subject.opened() as (platform, view):
        await subject.synced(view)
        broken = asyncio.create_task(_fail_at_first(registry_of(platform).watch()))
        (result,) = await asyncio.gather(broken, return_exceptions=True)
        assert isinstance(result, ZeroDivisionError), result
        key = await subject.world.put_instance(_rev(1))
        await subject.soon(view, lambda v: key in v.instances, "the other consumer sees the next change")


async def d10_a_long_watch_agrees_with_a_new_one(subject: Subject) -> None:
    """Whatever differs between two views was told: a long-lived watch believes what a new one is told."""
    await subject.world.put_service(_SERVICE)
    async with subject.opened() as (platform, view):
        await subject.synced(view)
        specs = [InstanceSpec(service="reviews", id=f"v{number}") for number in range(6)]
        keys = {await subject.world.put_instance(spec) for spec in specs}
        await subject.soon(view, lambda v: keys <= v.instances.keys(), "all six are seen")
        for spec in specs[::2]:
            await subject.world.delete_instance(spec)
        marker = await _marked(subject, view)
        async with watching(registry_of(platform)) as fresh:
            await subject.synced(fresh)
            assert marker in fresh.services
            await subject.soon(view, lambda v: v.content() == fresh.content(), "both watches believe the same")


async def d11_a_random_history_ends_in_the_truth(subject: Subject) -> None:
    """After any history of changes, the view is the world."""
    source = random.Random(_SEED)
    truth: dict[InstanceKey, str] = {}
    services = [ServiceSpec(name=f"service{number}") for number in range(3)]
    for service in services:
        await subject.world.put_service(service)
    async with subject.watched() as view:
        for step in range(subject.budgets.many):
            spec = InstanceSpec(
                service=source.choice(services).name, id=f"v{source.randrange(4)}", labels={"rev": str(step)}
            )
            await _step(subject, spec, truth, removes=source.random() < 0.3)
            if step % 15 == 14:
                await subject.soon(view, lambda v: _revs(v) == truth, f"the view is the world (seed {_SEED}): {truth}")


async def _step(subject: Subject, spec: InstanceSpec, truth: dict[InstanceKey, str], *, removes: bool) -> None:
    key = await subject.world.put_instance(spec)
    truth[key] = spec.labels["rev"]
    if removes:
        await subject.world.delete_instance(spec)
        del truth[key]


def _rev(number: int) -> InstanceSpec:
    return InstanceSpec(service="reviews", id="v1", labels={"rev": str(number)})


def _number(view: View, key: InstanceKey) -> int:
    found = view.instances.get(key)
    return int(found.labels.get("rev", "-1")) if found else -1


def _reached(key: InstanceKey, number: int) -> Callable[[View], bool]:
    return lambda view: _number(view, key) >= number


def _revs(view: View) -> dict[InstanceKey, str]:
    return {key: found.labels.get("rev") for key, found in view.instances.items()}


async def _settled(subject: Subject, view: View, key: InstanceKey) -> None:
    """What the platform finds out by itself after the start (health) is through."""
    await subject.soon(view, lambda v: v.instances[key].health.value == "healthy", "the instance is healthy")


async def _marked(subject: Subject, view: View) -> ServiceKey:
    """Makes a change and waits for it, and for silence: what came before it has been told by then."""
    marker = await subject.world.put_service(ServiceSpec(name="marker"))
    await subject.soon(view, lambda v: marker in v.services, "the marker is seen")
    await view.silence(subject.budgets.quiet)
    return marker


def _about(view: View, since: int, key: InstanceKey) -> list[RegistryChange]:
    def concerns(change: RegistryChange) -> bool:
        match change:
            case InstancePut(instance):
                return instance.key == key
            case InstanceGone(gone):
                return gone == key
            case _:
                return False

    return [change for change in view.history[since:] if concerns(change)]


async def _until(watch: AsyncIterator[RegistryChange], key: InstanceKey, number: int) -> int:
    """How many states of `key` come before and with state `number`."""
    seen = 0
    async for change in watch:
        if isinstance(change, InstancePut) and change.instance.key == key:
            seen += 1
            if change.instance.labels.get("rev") == str(number):
                return seen
    raise AssertionError("the watch ended")


async def _fail_at_first(watch: AsyncIterator[RegistryChange]) -> None:
    async for _ in watch:
        raise ZeroDivisionError


CASES: tuple[Case, ...] = (
    required(d1_every_final_state_is_told),
    required(d2_states_never_go_backwards),
    required(d3_a_write_that_changes_nothing_is_silent),
    case(d4_events_that_come_twice_change_nothing),
    case(d5_events_in_another_order_converge),
    required(d6_a_burst_is_coalesced),
    required(d7_a_slow_consumer_gets_the_newest),
    required(d8_changes_are_seen_in_time),
    required(d9_one_consumer_that_fails_is_alone),
    required(d10_a_long_watch_agrees_with_a_new_one),
    required(d11_a_random_history_ends_in_the_truth),
)
