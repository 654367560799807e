"""Tables, ages and failures as people see them."""

import subprocess
import sys
from collections.abc import Callable

import pytest
from click.testing import Result

from core.errors import MeshError
from istioctl import output
from istioctl.cli import COMMANDS

Run = Callable[..., Result]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0s"),
        (0, "0s"),
        (9.9, "9s"),
        (59, "59s"),
        (60, "1m"),
        (123, "2m3s"),
        (599, "9m59s"),
        (3599, "59m"),
        (3 * 3600 + 5 * 60, "3h5m"),
        (3600, "1h"),
        (23 * 3600, "23h"),
        (2 * 86400 + 4 * 3600, "2d4h"),
        (400 * 86400, "400d"),
    ],
)
def test_ages_are_short(seconds: float, text: str) -> None:
    """At most two units, the second only while it matters."""
    assert output.age(seconds) == text


def test_columns_are_as_wide_as_what_is_in_them() -> None:
    """Columns line up, and nothing trails at the end of a line."""
    assert output.table(["NAME", "AGE"], [["reviews", "5s"], ["a", ""]]) == "NAME      AGE\nreviews   5s\na"


def raising(error: BaseException) -> Callable[..., None]:
    def fail(*args: object, **more: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code", "stderr"),
    [
        (MeshError("it broke", fix="mend it"), 1, "error: it broke\nfix:   mend it\n"),
        (MeshError("it broke"), 1, "error: it broke\n"),
        (KeyboardInterrupt(), 130, "\n"),
    ],
)
def test_failures_are_two_lines_and_a_code(
    error: BaseException, code: int, stderr: str, istioctl: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An expected failure has no traceback: what, what to do, exit code 1; Ctrl-C is 130."""
    monkeypatch.setattr("istioctl.sources.read_sources", raising(error))
    result = istioctl("validate", "-")
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", stderr)


def test_a_bug_keeps_its_traceback(istioctl: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody expected is not dressed up as the user's mistake."""
    monkeypatch.setattr("istioctl.sources.read_sources", raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        istioctl("validate", "-")


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
)
def test_colour_is_for_terminals(
    environment: dict[str, str], coloured: bool, istioctl: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pipes get plain text; FORCE_COLOR and NO_COLOR are honoured, NO_COLOR first."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ("\x1b[" in istioctl("get", "unicorns").stderr) is coloured


def test_every_section_stands_together() -> None:
    """The help shows each section once."""
    sections = [entry.section for entry in COMMANDS]
    changes = [name for i, name in enumerate(sections) if i == 0 or sections[i - 1] != name]
    assert len(changes) == len(set(changes))


def test_a_full_disk_is_said_in_one_line() -> None:
    """A result that cannot be written is a failure of the surroundings like any other."""
    program = "from istioctl.cli import main; main()"
    with open("/dev/full", "w") as full:
        shown = subprocess.run(
            [sys.executable, "-c", program, "validate", "-o", "json", "-"],
            stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (shown.returncode, shown.stderr) == (1, "error: cannot write the result: No space left on device\n")
