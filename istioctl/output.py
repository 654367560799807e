"""How results and failures look: data on stdout, talk on stderr, colour where it is wanted. Prints; decides nothing."""

import os
import sys
from collections.abc import Iterable, Sequence

import click

from core.errors import MeshError

GAP = "   "


def colour() -> bool | None:
    """None: colour on a terminal, plain elsewhere. See https://no-color.org and https://force-color.org."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return True if os.environ.get("FORCE_COLOR") else None


def show(text: str) -> None:
    """A result. Raises `MeshError` when it cannot be written; a reader that went away is click's matter."""
    try:
        click.echo(text, color=colour())
    except BrokenPipeError:
        raise
    except OSError as error:
        # Python would try, and complain, once more when it exits.
        sys.stdout = sys.stderr
        raise MeshError(f"cannot write the result: {error.strerror}") from error


def say(text: str) -> None:
    """Something that is not the result."""
    click.echo(text, err=True, color=colour())


def complain(message: str, *, fix: str = "") -> None:
    say(click.style("error:", fg="red", bold=True) + f" {message}")
    if fix:
        say(click.style("fix:", fg="green") + f"   {fix}")


def complain_of(error: MeshError) -> None:
    complain(str(error), fix=error.fix)


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as what is in them; nothing trails at the end of a line."""
    lines = [tuple(headers), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(GAP.join(map(str.ljust, line, widths)).rstrip() for line in lines)


def utc(seconds: float) -> str:
    """Of seconds since the epoch: `2026-01-12 09:14:02Z`."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M:%SZ")


class Rows:
    """A table whose rows come one by one: a column grows with what is in it, and never shrinks."""

    def __init__(self, headers: Sequence[str]) -> None:
        self._widths = [0] * len(headers)
        self._next = [tuple(headers)]

    def text(self, rows: Iterable[Sequence[str]]) -> str:
        """Under the headers, the first time."""
        lines = [*self._next, *map(tuple, rows)]
        self._next = []
        self._widths = [max(widths) for widths in zip(self._widths, *(map(len, line) for line in lines), strict=True)]
        return "\n".join(GAP.join(map(str.ljust, line, self._widths)).rstrip() for line in lines)


def as_json(value: object) -> str:
    """Indented, in the order of the fields."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def as_yaml(value: object) -> str:
    import msgspec
    import yaml

    plain = msgspec.json.decode(msgspec.json.encode(value))
    return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)).rstrip("\n")


_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def age(seconds: float) -> str:
    """As kubectl shows it: two units where the larger one is still small ("5m12s", "3h5m", "2d4h"), else one."""
    left = max(0, int(seconds))
    first = next((i for i, (_, size) in enumerate(_UNITS) if left >= size), len(_UNITS) - 1)
    parts = []
    for unit, size in _UNITS[first : first + 2]:
        count, left = divmod(left, size)
        parts.append((count, unit))
    wanted = parts[:1] if parts[0][0] >= 10 else [part for part in parts if part[0]] or parts[:1]
    return "".join(f"{count}{unit}" for count, unit in wanted)
