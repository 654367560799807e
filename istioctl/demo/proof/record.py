"""What came of the steps, as it is shown: a few lines for each, or one JSON object for all."""

from collections.abc import Iterator, Sequence

import click
import msgspec

from istioctl.output import as_json

SCHEMA = "istioctl.demo.check/v1"
MARKS = {True: ("✓", "green"), False: ("✗", "red")}


class Proven(msgspec.Struct, frozen=True, kw_only=True):
    """One step: `seconds` is how long it took."""

    title: str
    expected: str
    seen: str
    passed: bool
    seconds: float


def lines(proven: Proven) -> Iterator[str]:
    mark, colour = MARKS[proven.passed]
    took = click.style(f"{proven.seconds:.1f} s", dim=True)
    yield f"{click.style(mark, fg=colour, bold=True)} {proven.title}  {took}"
    yield f"    expected  {proven.expected}"
    yield f"    seen      {proven.seen}"


def verdict(results: Sequence[Proven], *, seconds: float) -> str:
    good = sum(each.passed for each in results)
    if good == len(results):
        return f"All {good} hold, after {seconds:.1f} s."
    return f"{len(results) - good} of {len(results)} do NOT hold, after {seconds:.1f} s."


def json(results: Sequence[Proven], *, capture: str, seconds: float) -> str:
    """Fields may be added; none will change its meaning."""
    passed = all(each.passed for each in results)
    return as_json(
        {"schema": SCHEMA, "capture": capture, "passed": passed, "seconds": round(seconds, 3), "steps": results}
    )
