"""The command line, called in this process with nothing of the user's environment in it."""

import shlex
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from istioctl.cli import app

Run = Callable[..., Result]


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one, which the environment names."""
    for name in ("NO_COLOR", "FORCE_COLOR", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ISTIO_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    return tmp_path / "state"


@pytest.fixture
def parse() -> Callable[[str], str]:
    """Parses a command line as far as words and options go, runs nothing, and returns which command it is for."""

    def parsed(line: str) -> str:
        root = click.Context(app, **app.context_settings)
        _, (name, *rest), _ = app.make_parser(root).parse_args(shlex.split(line))
        command = app.get_command(root, name)
        assert command
        command.make_parser(click.Context(command, parent=root)).parse_args(rest)
        return name

    return parsed


@pytest.fixture
def istioctl(state_dir: Path) -> Run:
    def run(*args: str, stdin: str | bytes = "") -> Result:
        return CliRunner().invoke(app, args, input=stdin, prog_name="istioctl", catch_exceptions=False)

    return run
