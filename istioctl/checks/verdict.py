"""What came of one look: a plain sentence, whether it holds, and if not, why and how to mend it. Values only."""

from collections.abc import Iterable
from enum import StrEnum

import msgspec


class Outcome(StrEnum):
    """`WARNING`: it works, but not all of it, or not for long. `FAILED`: something will not work."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """`text` says what is true when all is well ("Envoy runs"); `reason` why it is not; `fix` what to do, exactly."""

    text: str
    outcome: Outcome = Outcome.OK
    reason: str = ""
    fix: str = ""


class Category(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    checks: tuple[Verdict, ...]


def good(text: str) -> Verdict:
    return Verdict(text=text)


def doubtful(text: str, reason: str, *, fix: str) -> Verdict:
    return Verdict(text=text, outcome=Outcome.WARNING, reason=reason, fix=fix)


def failed(text: str, reason: str, *, fix: str) -> Verdict:
    return Verdict(text=text, outcome=Outcome.FAILED, reason=reason, fix=fix)


def worst(categories: Iterable[Category]) -> Outcome:
    found = {check.outcome for category in categories for check in category.checks}
    return next((each for each in (Outcome.FAILED, Outcome.WARNING) if each in found), Outcome.OK)
