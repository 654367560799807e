"""Group J: one leader at a time, and always one again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from core.ports import Elector
from platforms.conformance.case import Case, Subject, case

_ROUNDS = 5


async def j1_never_two_leaders(subject: Subject) -> None:
    """Of many candidates one leads at a time, and the number of its term is higher than any before."""
    log: list[tuple[str, int]] = []
    async with contextlib.AsyncExitStack() as stack:
        electors = [await stack.enter_async_context(subject.elector()) for _ in range(3)]
        async with asyncio.timeout(subject.budgets.failover * 3 * _ROUNDS), asyncio.TaskGroup() as candidates:
            for elector in electors:
                candidates.create_task(_leads_often(elector, log))
    assert [what for what, _ in log] == ["begins", "ends"] * (3 * _ROUNDS), f"two led at once: {log}"
    terms = [term for what, term in log if what == "begins"]
    assert terms == sorted(set(terms)), f"terms do not grow: {terms}"


async def j2_failover_is_quick(subject: Subject) -> None:
    """When the process that leads is killed, another one leads within the budget."""
    async with subject.elector() as elector, subject.world.rival() as rival, _candidate(elector) as led:
        await _not_led(subject, led)
        await rival.kill()
        assert await _led(led, subject.budgets.failover) > rival.term


async def j3_partitioned_leader_stops_first(subject: Subject) -> None:
    """A leader that has lost its connection stops acting before another one starts."""
    async with subject.elector() as elector, subject.world.rival() as rival:
        await rival.cut()
        async with _candidate(elector) as led:
            assert await _led(led, subject.budgets.failover) > rival.term
            assert not await rival.acting()


async def j4_giving_up_is_immediate(subject: Subject) -> None:
    """When a leader's work ends, fails or is cancelled, the next one leads at once."""
    async with subject.elector() as first, subject.elector() as second:
        for end in (_at_once, _by_failing, _never):
            leading = asyncio.Event()
            task = asyncio.create_task(_lead_until(end, first, leading))
            async with asyncio.timeout(subject.budgets.failover):
                await leading.wait()
            async with _candidate(second) as led:
                if end is _never:
                    task.cancel()
                await _led(led, subject.budgets.event)
            await asyncio.gather(task, return_exceptions=True)


async def j5_clocks_have_no_say(subject: Subject) -> None:
    """A leader whose clock is ten minutes ahead or behind neither keeps the lead for ever nor shares it."""
    for seconds in (600.0, -600.0):
        async with subject.elector() as elector, subject.world.rival() as rival:
            await rival.skew(seconds)
            async with _candidate(elector) as led:
                await _not_led(subject, led)
                await rival.kill()
                assert await _led(led, subject.budgets.failover) > rival.term


async def j6_frozen_leader_does_not_act_beside_another(subject: Subject) -> None:
    """A leader that was frozen and goes on does not act beside one that was elected meanwhile."""
    async with subject.elector() as elector, subject.world.rival() as rival, _candidate(elector) as led:
        await rival.freeze()
        with contextlib.suppress(TimeoutError):
            await _led(led, subject.budgets.failover / 2)
        await rival.thaw()
        assert await rival.acting() is not led.done(), "two act at once, or none does"


async def j7_a_dead_process_holds_nothing(subject: Subject) -> None:
    """However often leaders are killed, the next one leads, in a later term."""
    terms = []
    for _ in range(3):
        async with subject.world.rival() as rival:
            terms.append(rival.term)
            await rival.kill()
    async with subject.elector() as elector, _candidate(elector) as led:
        terms.append(await _led(led, subject.budgets.failover))
    assert terms == sorted(set(terms)), f"terms do not grow: {terms}"


async def _leads_often(elector: Elector, log: list[tuple[str, int]]) -> None:
    async def work(term: int) -> None:
        log.append(("begins", term))
        await asyncio.sleep(0.002)
        log.append(("ends", term))

    for _ in range(_ROUNDS):
        await elector.lead(work)


@contextlib.asynccontextmanager
async def _candidate(elector: Elector) -> AsyncIterator[asyncio.Future[int]]:
    """Stands for election and, once it leads, goes on leading. Yields the term to come."""
    led: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work(term: int) -> None:
        led.set_result(term)
        await asyncio.Event().wait()

    task = asyncio.create_task(elector.lead(work))
    try:
        yield led
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _led(led: asyncio.Future[int], within: float) -> int:
    async with asyncio.timeout(within):
        return await asyncio.shield(led)


async def _not_led(subject: Subject, led: asyncio.Future[int]) -> None:
    with contextlib.suppress(TimeoutError):
        await _led(led, subject.budgets.quiet)
        raise AssertionError("two lead at once")


async def _lead_until(end: Callable[[], Awaitable[None]], elector: Elector, leading: asyncio.Event) -> None:
    async def work(_: int) -> None:
        leading.set()
        await end()

    await elector.lead(work)


async def _at_once() -> None:
    """The work is done."""


async def _by_failing() -> None:
    raise RuntimeError("as the case wants it")


async def _never() -> None:
    await asyncio.Event().wait()


CASES: tuple[Case, ...] = (
    case(j1_never_two_leaders),
    case(j2_failover_is_quick),
    case(j3_partitioned_leader_stops_first),
    case(j4_giving_up_is_immediate),
    case(j5_clocks_have_no_say),
    case(j6_frozen_leader_does_not_act_beside_another),
    case(j7_a_dead_process_holds_nothing),
)
