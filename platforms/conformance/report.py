"""Runs the whole suite without pytest, and says what a platform has earned."""

from collections.abc import Callable, Iterable, Sequence

from platforms.conformance.case import Case, Outcome, Result, run
from platforms.conformance.cases import CASES
from platforms.conformance.harness import Harness

CORE = "core"
"""The level of groups A to D; of I and J, what the platform does not skip has to hold as well."""


async def run_all(make: Callable[[], Harness], cases: Iterable[Case] = CASES) -> tuple[Outcome, ...]:
    """Every case on a harness of its own, one after the other."""
    return tuple([await run(case, make()) for case in cases])


def line(outcome: Outcome) -> str:
    """One case in one line."""
    reason = f" ({outcome.reason.splitlines()[0]})" if outcome.reason else ""
    return f"{outcome.case.id:<4} {outcome.result:<5} {outcome.seconds:5.2f} s  {outcome.case.sentence}{reason}"


def obstacles(outcomes: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """What stands between these outcomes and the level: failures, and skips of what may not be skipped."""
    return tuple(o for o in outcomes if o.result is Result.FAIL or (o.result is Result.SKIP and o.case.required))


def level(outcomes: Sequence[Outcome], cases: Sequence[Case] = CASES) -> str:
    """`core` when all of `cases` ran and nothing stands in the way, otherwise ""."""
    complete = {case.id for case in cases} <= {outcome.case.id for outcome in outcomes}
    return CORE if complete and not obstacles(outcomes) else ""


def summary(name: str, outcomes: Sequence[Outcome]) -> str:
    """The badge: level and counts, in one line."""
    count = {result: sum(o.result is result for o in outcomes) for result in Result}
    counts = f"{count[Result.PASS]} passed, {count[Result.FAIL]} failed, {count[Result.SKIP]} skipped"
    earned = level(outcomes)
    return f"{name}: level {earned or 'none'} ({counts} of {len(CASES)})"
