"""What somebody sees of a demo: the same figures in place, as lines, and as JSON."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from istioctl.demo import words
from istioctl.demo.screen import Lines, Plain, Scene, Terminal, introduction, screen
from istioctl.demo.settings import RULES
from istioctl.demo.traffic import NOBODY, Row
from istioctl.demo.words import Hint, figures, milliseconds, mutual, share

BUSY = Row(service="reviews", version="v1", rate=12.34, success=1.0, p50=3.21, p99=48.7, mutual=1.0)
QUIET = Row(service="ratings", version="v1")
HINTS = (Hint("istioctl shift reviews v3=100 " + "x" * 90, "all from v3"),)


def scene(*rows: Row, elapsed: float = 0.0) -> Scene:
    return Scene(
        rows=rows, url="http://127.0.0.1:8080/", curl="curl http://127.0.0.1:8080/", hints=HINTS, elapsed=elapsed
    )


def test_figures_are_short_and_honest() -> None:
    """Dashes stand for what is not known; nothing else looks like 0 or 100%."""
    assert figures(BUSY) == ("reviews", "v1", "12.3", "100%", "3.2 ms", "49 ms", "yes")
    assert figures(QUIET) == ("ratings", "v1", "0.0", "-", "-", "-", "-")


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "100%"), (0.99999, "99.9%"), (0.5, "50.0%"), (0.00001, "0.1%"), (0.0, "0%")]
)
def test_shares_are_never_rounded_to_all_or_nothing(value: float, text: str) -> None:
    """One failure in a million is a failure."""
    assert share(value) == text


def test_other_figures() -> None:
    """Small times have a decimal; mutual TLS is yes, no, or a share."""
    assert [milliseconds(each) for each in (0.25, 9.94, 10.4, 1234.0)] == ["0.2 ms", "9.9 ms", "10 ms", "1234 ms"]
    assert [mutual(each) for each in (1.0, 0.0, 0.25)] == ["yes", "no", "25.0%"]


def test_on_a_terminal_the_table_stays_in_its_place() -> None:
    """What to try is printed once and in one piece; the second scene takes the place of the first."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, height=40, color_system=None)
    terminal = Terminal(console)
    terminal.tell("starting")
    terminal.show(scene(BUSY))
    terminal.show(scene(BUSY, QUIET))
    terminal.tell("stopping")
    terminal.close()
    text = out.getvalue()
    assert text.count(HINTS[0].command) == 1
    assert text.count("Try this next") == 1
    assert "\x1b[1A" in text
    assert text.index("starting") < text.index("The page") < text.index("reviews") < text.index("ratings")
    assert max(map(len, text.split("Ctrl-C")[0].splitlines()[-4:])) <= 80


def test_a_note_explains_calls_that_reached_nobody() -> None:
    """And is not there when there is nothing to explain."""
    nobody = Row(service="details", version=NOBODY, rate=1.0, success=0.0)
    for rows, noted in (((BUSY,), False), ((BUSY, nobody), True)):
        out = io.StringIO()
        terminal = Terminal(Console(file=out, width=120))
        terminal.show(scene(*rows))
        terminal.close()
        assert (words.NOTE in out.getvalue()) is noted


def test_plain_lines_come_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    """What to try once, then a table every five seconds; no control character."""
    plain = Plain()
    for second in range(14):
        plain.show(scene(BUSY, elapsed=second))
    out = capsys.readouterr().out
    assert (out.count("SERVICE"), out.count("Try this next")) == (3, 1)
    assert "\x1b" not in out
    assert HINTS[0].command in out


def test_json_has_a_line_for_each_scene(capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers, not texts; null for what is not known; progress goes elsewhere."""
    lines = Lines()
    lines.tell("starting")
    lines.show(scene(BUSY, QUIET))
    out, err = capsys.readouterr()
    (said,) = map(json.loads, out.splitlines())
    assert said["rows"][0] == {
        "service": "reviews",
        "version": "v1",
        "rate": 12.34,
        "success": 1.0,
        "p50": 3.21,
        "p99": 48.7,
        "mutual": 1.0,
    }
    assert said["rows"][1]["success"] is None
    assert err == "starting\n"


@pytest.mark.parametrize(("name", "value"), [("TERM", "dumb"), ("NO_COLOR", "1"), ("TERM", "xterm")])
def test_only_a_terminal_gets_a_table_in_place(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a dumb one, not one that wants no colour, and no pipe (which is what stdout is here)."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv(name, value)
    if value != "xterm":
        monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    with screen("table") as found:
        assert isinstance(found, Plain)


def test_the_hints_are_commands_that_work_from_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They name the state directory when it is not the usual one, and files that are there."""
    monkeypatch.setattr("sys.argv", ["-c"])
    (shift, fault, delete) = words.hints(tmp_path)
    assert shift.command == f"istioctl --state-dir {tmp_path} shift reviews v3=100"
    assert Path(fault.command.split()[-1]).resolve() == RULES / "broken-details.yaml"
    assert (RULES / "broken-details.yaml").is_file()
    assert "delete" in delete.command


def test_the_introduction_says_where_the_page_is() -> None:
    """A URL for people; a curl command where the URL alone leads nowhere."""
    assert "  http://127.0.0.1:8080/" in list(introduction(scene()))
    proxied = Scene(rows=(), url="http://page/", curl="curl -x http://p http://page/", hints=())
    assert "  curl -x http://p http://page/" in list(introduction(proxied))
