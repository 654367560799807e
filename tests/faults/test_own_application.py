"""The how-to about one's own application works as it stands: its commands, in order; its files are the example's."""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from istioctl.local.testing import Up, eventually

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "own-application"
PAGE = (ROOT / "docs" / "how-to" / "own-application.md").read_text()
UP = "istioctl up mesh.yaml --capture redirect"
DOOR = "8443"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def steps() -> list[tuple[str, str]]:
    """Each command, and what the page says that it prints ("" where it says nothing)."""
    said = "".join(blocks("console"))
    return [
        (command, output.strip()) for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", said, re.MULTILINE)
    ]


@pytest.fixture
def folder() -> Iterator[Path]:
    """The example, with a door that is free here."""
    with TemporaryDirectory(prefix="o") as name:
        copy = Path(shutil.copytree(EXAMPLE, Path(name) / "app"))
        file = copy / "mesh.yaml"
        file.write_text(file.read_text().replace(DOOR, free_port()))
        yield copy


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def test_the_files_shown_are_those_of_the_example() -> None:
    """Word for word, all of them."""
    assert blocks("yaml") == [(EXAMPLE / name).read_text() for name in ("mesh.yaml", "strict.yaml", "gateway.yaml")]


def test_every_command_does_what_the_page_says(folder: Path) -> None:
    """With exit code 0, and the output that is shown, if there is one."""
    before, after = steps()[: steps().index((UP, ""))], steps()[steps().index((UP, "")) + 1 :]
    state, door = folder.parent / "s", re.findall(r"443: (\d+)", (folder / "mesh.yaml").read_text())[0]
    for command, _ in before:
        run(command, folder, state)
    with Up(folder / "mesh.yaml", state=state, arguments=("--capture", "redirect")) as up:
        up.ready().hears("4 of 4 workloads ready")
        assert len(after) > 8
        for command, shown in after:
            _prints(shown, command.replace(DOOR, door), folder, state)


def _prints(shown: str, command: str, folder: Path, state: Path) -> None:
    """Calls may be early, faster than any reader: what is just started or applied is not everywhere at once."""
    said: list[str] = []

    def told() -> bool:
        said.append(run(command, folder, state).stdout)
        return shown in said[-1]

    eventually(told, within=15 if "curl" in command else 0, what=lambda: f"{command}: {said}")


def run(command: str, folder: Path, state: Path) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, "ISTIO_STATE_DIR": str(state)}
    words = ["bash", "-o", "pipefail", "-c", command]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done
