"""What was found, for people and for programs. Prints nothing itself."""

from collections.abc import Iterable, Iterator, Sequence

import click

from istioctl.checks.verdict import Category, Outcome, Verdict, worst
from istioctl.output import as_json

MARKS = {Outcome.OK: ("√", "green"), Outcome.WARNING: ("‼", "yellow"), Outcome.FAILED: ("×", "red")}  # noqa: RUF001 (as linkerd's)

SCHEMA = "istioctl.check/v1"


def text(categories: Iterable[Category]) -> str:
    """Everything, a line each; what is wrong with its reason and its fix."""
    blocks = ("\n".join([each.name, *(line for check in each.checks for line in _lines(check))]) for each in categories)
    return "\n\n".join(blocks)


def short(categories: Iterable[Category]) -> str:
    """Only what is wrong; "" when nothing is."""
    wrong = (check for each in categories for check in each.checks if check.outcome is not Outcome.OK)
    return "\n".join(line for check in wrong for line in _lines(check))


def _lines(check: Verdict) -> Iterator[str]:
    mark, colour = MARKS[check.outcome]
    yield f"{click.style(mark, fg=colour)} {check.text}"
    if check.outcome is not Outcome.OK:
        yield from (f"    {line}" for line in check.reason.splitlines())
        yield f"    {click.style('fix:', fg='green')} {check.fix}"


def as_value(categories: Sequence[Category]) -> dict[str, object]:
    """Fields may be added; none will change its meaning."""
    return {"schema": SCHEMA, "outcome": worst(categories), "categories": categories}


def json(categories: Sequence[Category]) -> str:
    return as_json(as_value(categories))


def summary(categories: Sequence[Category]) -> str:
    counted = [check.outcome for each in categories for check in each.checks]
    wrong, doubtful = counted.count(Outcome.FAILED), counted.count(Outcome.WARNING)
    parts = [f"{len(counted)} looked at"]
    parts += [f"{wrong} wrong"] if wrong else []
    parts += [f"{doubtful} doubtful"] if doubtful else []
    return (
        f"{', '.join(parts)}: {'this will not work' if wrong else 'all is well' if not doubtful else 'this will work'}"
    )
