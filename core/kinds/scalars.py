"""Durations and percentages as the Istio APIs write them. Nothing here knows a field."""

import re
from functools import lru_cache

from core.kinds.findings import Context
from core.model.config import Origin

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = re.compile(r"([0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})(ns|us|µs|μs|ms|s|m|h)")
_WHOLE = re.compile(rf"[+-]?(?:{_PART.pattern})+")

LONGEST = 10 * 365 * 24 * 3600 * 1000
"""Ten years in milliseconds: a duration beyond that is a slip of the pen, and some of Envoy's overflow."""


@lru_cache(maxsize=1024)
def nanoseconds(text: str) -> int | None:
    """The length of "1.5s", "1h30m", "100ms" (Go's and proto3 JSON's notation); None when it is none of them."""
    if text in ("0", "+0", "-0"):
        return 0
    if len(text) > 64 or not _WHOLE.fullmatch(text):
        return None
    total = sum(_part(found.group(1), _UNITS[found.group(2)]) for found in _PART.finditer(text))
    return -total if text.startswith("-") else total


def _part(number: str, unit: int) -> int:
    whole, _, fraction = number.partition(".")
    return int(whole or 0) * unit + int(fraction or 0) * unit // int(10 ** len(fraction))


def duration(context: Context, text: str, at: Origin, *, least: int = 1) -> int:
    """Milliseconds. Reports what is not a duration, below `least` ms, above ten years or not whole; then gives 0."""
    length = nanoseconds(text)
    name = at.path.rsplit(".", 1)[-1]
    if length is None:
        context.error(
            at, f"{name} must be a duration, not {text[:60]!r}", fix='write a number and a unit: "1.5s", "100ms"'
        )
        return 0
    if length < least * 10**6:
        context.error(at, f"{name} must be at least {_shown(least)}, not {text}")
        return 0
    if length % 10**6:
        context.error(at, f"{name} must be whole milliseconds, not {text}", fix="round it to milliseconds")
        return 0
    if length > LONGEST * 10**6:
        context.error(at, f"{name} must be at most ten years, not {text}")
        return 0
    return length // 10**6


def seconds(context: Context, text: str, at: Origin) -> int:
    """Whole seconds, at least one; reports anything else and gives 0."""
    length = duration(context, text, at, least=1000)
    if length % 1000:
        context.error(at, f"{at.path.rsplit('.', 1)[-1]} must be whole seconds, not {text}", fix="round it to seconds")
    return length // 1000


def per_million(context: Context, value: float, at: Origin) -> int:
    """A percentage as parts per million: 0, or from 0.0001 to 100; reports anything else and gives 0."""
    if value != 0 and not 0.0001 <= value <= 100:
        context.error(at, f"the percentage must be 0 or from 0.0001 to 100, not {value:g}")
        return 0
    return round(value * 10_000)


def _shown(milliseconds: int) -> str:
    return f"{milliseconds // 1000}s" if milliseconds and milliseconds % 1000 == 0 else f"{milliseconds}ms"
