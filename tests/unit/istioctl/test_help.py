"""What people see before they know anything: help, usage errors, and that starting is cheap."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import Result

from istioctl.cli import COMMANDS, app

Run = Callable[..., Result]

GOLDEN = Path(__file__).parent / "help"
NAMES = [entry.name for entry in COMMANDS]


def command(name: str) -> click.Command:
    found = app.get_command(click.Context(app), name)
    assert found
    return found


def examples(name: str) -> list[str]:
    return [line for line in command(name).help.splitlines() if re.match(r"\s+(cat \S+ \| )?istioctl ", line)]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["istioctl", *NAMES])
def test_help_is_as_reviewed(name: str, istioctl: Run) -> None:
    """Help texts change on purpose only. `GOLDEN=write` writes what it is now, for review."""
    result = istioctl(*([] if name == "istioctl" else [name]), "--help")
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("GOLDEN") == "write":
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(result.stdout)
    assert (result.exit_code, result.stdout, result.stderr) == (0, golden.read_text(), "")


def test_no_golden_without_a_command() -> None:
    """What is reviewed is what there is."""
    assert {path.stem for path in GOLDEN.glob("*.txt")} == {"istioctl", *NAMES}


def test_istioctl_alone_shows_where_to_start(istioctl: Run) -> None:
    """Without a command: every section, every command, and the first thing to try; that is no error."""
    result = istioctl()
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Start here:" in result.stdout
    assert all(entry.section in result.stdout and entry.summary in result.stdout for entry in COMMANDS)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_examples_that_parse(name: str, parse: Callable[[str], str]) -> None:
    """Two or three examples, and each is a command line that this command takes."""
    found = examples(name)
    assert 2 <= len(found) <= 3
    for line in found:
        assert parse(line.partition("istioctl ")[2].partition(" > ")[0]) == name


@pytest.mark.parametrize("name", NAMES)
def test_the_table_says_what_the_command_says(name: str) -> None:
    """The summary in the table is the first line of the command's own help."""
    (summary,) = (entry.summary for entry in COMMANDS if entry.name == name)
    assert command(name).help.splitlines()[0] == f"{summary}."  # type: ignore[union-attr]


@pytest.mark.parametrize(("typed", "meant"), [("aply", "apply"), ("validat", "validate"), ("delte", "delete")])
def test_a_typo_is_answered_with_what_was_meant(typed: str, meant: str, istioctl: Run) -> None:
    """An unknown command is a usage error that names the nearest one."""
    result = istioctl(typed)
    assert result.exit_code == 2
    assert f'unknown command "{typed}"; did you mean "{meant}"?' in result.stderr


@pytest.mark.parametrize(("short", "name"), [(entry.alias, entry.name) for entry in COMMANDS if entry.alias])
def test_short_names_are_the_same_command(short: str, name: str, istioctl: Run) -> None:
    """What Istio's users type finds the command, and the list of commands says so."""
    assert command(short) is command(name)
    assert f"{name}, {short} " in istioctl().stdout


def test_nonsense_is_not_answered_with_a_guess(istioctl: Run) -> None:
    """Nothing is near "xyzzy"."""
    result = istioctl("xyzzy")
    assert result.exit_code == 2
    assert "did you mean" not in result.stderr


@pytest.mark.parametrize(
    "args",
    [
        ["--nope"],
        ["get"],
        ["get", "vs", "-o", "xml"],
        ["get", "vs", "reviews", "-A"],
        ["validate"],
        ["validate", "-f", "/no/such/file"],
        ["apply"],
        ["apply", "-f", "https://example.com/rule.yaml"],
        ["get", "vs,dr", "-w"],
        ["history", "vs", "reviews", "--diff", "-o", "json"],
        ["delete"],
        ["delete", "vs"],
        ["completion", "tcsh"],
        ["shift", "reviews"],
        ["proxy-config", "cluster"],
        ["proxy-config", "clutser", "reviews-v1"],
        ["proxy-config", "cluster", "reviews-v1", "-f", "-"],
        ["proxy-config", "route", "reviews-v1", "--fqdn", "reviews"],
        ["pc", "listener", "-f", "/no/such/file"],
    ],
)
def test_a_wrong_command_line_exits_with_2(args: list[str], istioctl: Run) -> None:
    """Usage errors go to stderr with the help that fits, and never print a result."""
    result = istioctl(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.match(r"error: .+\nfix:   istioctl.* --help shows how it is used\n$", result.stderr, re.DOTALL)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_scripts_are_for_istioctl(shell: str, istioctl: Run) -> None:
    """The script asks `istioctl` itself, by the variable that click listens to."""
    result = istioctl("completion", shell)
    assert result.exit_code == 0
    assert "_ISTIOCTL_COMPLETE" in result.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("istioctl va", {"validate"}),
        ("istioctl proxy-config end", {"endpoint"}),
        ("istioctl pc cluster -o ya", {"yaml"}),
        ("istioctl ", set(NAMES)),
        ("istioctl get -o y", {"yaml"}),
        ("istioctl get v", {"virtualservices"}),
    ],
)
def test_completion_answers(words: str, expected: set[str]) -> None:
    """Commands and choices are completed."""
    program = "from istioctl.cli import main; main()"
    environment = os.environ | {
        "_ISTIOCTL_COMPLETE": "fish_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": words.rpartition(" ")[2],
    }
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert {line.split("\t")[0].removeprefix("plain,") for line in done.stdout.splitlines()} == expected


OFFLINE = ("grpc", "google.protobuf", "starlette", "uvicorn", "httpx", "yaml", "kubernetes", "msgspec")


def test_starting_loads_only_what_parsing_needs() -> None:
    """Neither the entry point nor a command's module loads anything that the command does not need yet."""
    imports = "; ".join(f"import istioctl.commands.{name.replace('-', '_')}" for name in NAMES)
    program = f"import sys; import istioctl.cli; {imports}; print([n for n in {OFFLINE} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_validating_loads_no_server() -> None:
    """`validate` is offline: neither servers nor HTTP clients are loaded for it."""
    heavy = ("grpc", "google.protobuf", "starlette", "uvicorn", "httpx", "http.client", "kubernetes")
    program = (
        "import sys, istioctl.cli\n"
        "try: istioctl.cli.app.main(['validate', '-'])\n"
        f"except SystemExit: print([n for n in {heavy} if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], input="", capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
