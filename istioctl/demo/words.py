"""What the demo tells people: what to try next, and what came of a table's figures. Text only."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from istioctl.calling import istioctl_for
from istioctl.demo.settings import RULES
from istioctl.demo.traffic import NOBODY, Row

HEADERS = ("SERVICE", "VERSION", "REQUESTS/S", "SUCCESS", "P50", "P99", "MTLS")

NOTE = "version -: answered by the caller's own sidecar, an injected fault for example"

NOTHING = "-"


class Hint(msgspec.Struct, frozen=True):
    """A command, and what it does."""

    command: str
    effect: str


def hints(state: Path) -> tuple[Hint, ...]:
    """Three commands for a second terminal, in this order; each changes traffic, and the last takes it all back."""
    istioctl = istioctl_for(state)
    return (
        Hint(f"{istioctl} shift reviews v3=100", "all reviews come from v3 (red stars)"),
        Hint(f"{istioctl} apply -f {near(RULES / 'broken-details.yaml')}", "half of all calls to details fail"),
        Hint(f"{istioctl} delete vs reviews details --ignore-not-found", "everything is as it was"),
    )


def near(path: Path) -> str:
    """As short as it works from here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith(os.pardir) else relative


def figures(row: Row) -> tuple[str, ...]:
    """A row under `HEADERS`."""
    return (
        row.service,
        row.version,
        f"{row.rate:.1f}",
        _known(row.success, share),
        _known(row.p50, milliseconds),
        _known(row.p99, milliseconds),
        _known(row.mutual, mutual),
    )


def _known(value: float | None, text: Callable[[float], str]) -> str:
    return NOTHING if value is None else text(value)


def share(value: float) -> str:
    """`99.9%` is never rounded up to `100%`, nor anything down to `0%`."""
    if value in (0.0, 1.0):
        return f"{value:.0%}"
    return f"{min(max(value * 100, 0.1), 99.9):.1f}%"


def milliseconds(value: float) -> str:
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def mutual(value: float) -> str:
    return {0.0: "no", 1.0: "yes"}.get(value) or share(value)


def is_partly_nobodys(rows: tuple[Row, ...]) -> bool:
    """Whether the table needs `NOTE`."""
    return any(row.version == NOBODY for row in rows)
