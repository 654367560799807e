"""What somebody sees of a running demo: a table in place on a terminal, plain lines elsewhere, or JSON for programs."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from istioctl.demo.traffic import Row
from istioctl.demo.words import HEADERS, NOTE, Hint, figures, is_partly_nobodys
from istioctl.output import say, show, table

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Form = Literal["table", "plain", "json"]

PLAIN_EVERY = 5.0
"""Seconds between two tables in plain output: it cannot be overwritten, so it should not run away."""


FIRST_AFTER = 3.0
"""Seconds until the first of them: before that there is little to count."""


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """One moment of the demo. `curl`: a command that shows the page. `elapsed`: seconds since it was ready."""

    rows: tuple[Row, ...]
    url: str
    curl: str
    hints: tuple[Hint, ...]
    elapsed: float = 0.0


class Screen(Protocol):
    """`tell` takes lines of progress at any time; `show` a scene, about once a second, until `close`."""

    def tell(self, line: str) -> None: ...
    def show(self, scene: Scene) -> None: ...
    def close(self) -> None: ...


@contextmanager
def screen(form: Form) -> Iterator[Screen]:
    """The one that fits what stdout is. `table` becomes `plain` where nothing can be written in place."""
    found: Screen
    if form == "json":
        found = Lines()
    elif form == "plain" or not _in_place():
        found = Plain()
    else:
        found = Terminal()
    try:
        yield found
    finally:
        found.close()


def _in_place() -> bool:
    """A terminal that can move its cursor. NO_COLOR asks for no colour, and gets calm output altogether."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")


class Plain:
    """A table every few seconds, one after the other."""

    def __init__(self) -> None:
        self._shown: float | None = None

    def tell(self, line: str) -> None:
        say(line)

    def show(self, scene: Scene) -> None:
        if self._shown is None:
            show("\n".join(introduction(scene)))
            self._shown = scene.elapsed - PLAIN_EVERY + FIRST_AFTER
        elif scene.elapsed - self._shown >= PLAIN_EVERY:
            self._shown = scene.elapsed
            notes = [NOTE] if is_partly_nobodys(scene.rows) else []
            show("\n".join(["", time.strftime("%H:%M:%S"), table(HEADERS, map(figures, scene.rows)), *notes]))

    def close(self) -> None:
        pass


class Lines:
    """A JSON object for each scene, on a line of its own."""

    def tell(self, line: str) -> None:
        say(line)

    def show(self, scene: Scene) -> None:
        show(msgspec.json.encode({"time": time.time(), "url": scene.url, "rows": scene.rows}).decode())

    def close(self) -> None:
        pass


class Terminal:
    """One table, always in the same place. What is told, and what to try, stand above it and scroll away as usual:
    commands to be copied must not be broken into lines that fit.
    """

    def __init__(self, console: "Console | None" = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = console or Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._begun = False

    def tell(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)

    def show(self, scene: Scene) -> None:
        if not self._begun:
            for line in introduction(scene):
                self._console.print(line, markup=False, soft_wrap=True, style="cyan" if is_command(line) else None)
            self._live.start()
            self._begun = True
        self._live.update(picture(scene), refresh=True)

    def close(self) -> None:
        if self._begun:
            self._live.stop()


def is_command(line: str) -> bool:
    """Of an introduction: something to type."""
    return line.startswith("  ") and not line.startswith("   ")


def introduction(scene: Scene) -> Iterator[str]:
    """What there is to do, as plain lines."""
    yield from ("", "The page:", f"  {scene.curl if '-x' in scene.curl else scene.url}")
    yield from ("", "Try this next, from a second terminal, and watch the table:")
    for hint in scene.hints:
        yield from (f"  {hint.command}", f"      {hint.effect}")


def picture(scene: Scene) -> "RenderableType":
    """A scene as rich draws it."""
    from rich.console import Group
    from rich.text import Text

    notes = [NOTE] if is_partly_nobodys(scene.rows) else []
    return Group(_table(scene.rows), *(Text(each, style="dim") for each in (*notes, "Ctrl-C stops all.")))


def _table(rows: tuple[Row, ...]) -> "RenderableType":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for number, name in enumerate(HEADERS):
        drawn.add_column(name, justify="left" if number in (0, 1, 6) else "right", no_wrap=True)
    for row in rows:
        drawn.add_row(*map(Text, figures(row), _styles(row)))
    return drawn


def _styles(row: Row) -> tuple[str, ...]:
    """Quiet where nothing happens; red where calls fail or travel in the open."""
    quiet = "" if row.rate else "dim"
    success = (
        "dim" if row.success is None else "green" if row.success > 0.999 else "yellow" if row.success > 0.9 else "red"
    )
    lock = "dim" if row.mutual is None else "green" if row.mutual == 1.0 else "red"
    return ("bold", quiet, quiet, success, quiet, quiet, lock)
