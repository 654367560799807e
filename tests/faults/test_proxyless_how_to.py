"""docs/how-to/proxyless-grpc.md works as it is written: files are the example's, and commands do what it says."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from istioctl.local.testing import Up

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "proxyless-grpc"
PAGE = (ROOT / "docs" / "how-to" / "proxyless-grpc.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
FILES = ("mesh.yaml", "v2-only.yaml", "strict.yaml", "mirrored.yaml")
GENTLE = "istioctl apply -f v2-only.yaml --wait"
"""Of which the page says that no call fails."""
BINARIES = os.path.dirname(sys.executable)


def blocks(language: str) -> list[str]:
    return [text for found, text in BLOCK.findall(PAGE) if found == language]


def steps() -> Iterator[tuple[list[str], str]]:
    """The commands of a block, and the text that is shown after it ("" for none)."""
    found = [block for block in BLOCK.findall(PAGE) if block[0] in ("console", "text")]
    for (language, text), (following, shown) in pairwise([*found, ("", "")]):
        if language == "console":
            commands = [line.removeprefix("$ ") for line in text.splitlines()]
            yield commands, shown.strip() if following == "text" else ""


def run(command: str, state: Path) -> str:
    environment = {**os.environ, "PATH": f"{BINARIES}{os.pathsep}{os.environ['PATH']}", "ISTIO_STATE_DIR": str(state)}
    done = subprocess.run(
        command.split(), cwd=EXAMPLE, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def test_the_files_shown_are_those_of_the_example() -> None:
    """Word for word; of the programs, the lines that are shown."""
    assert blocks("yaml") == [(EXAMPLE / name).read_text() for name in FILES]
    for name, shown in zip(("client.py", "server.py"), blocks("python"), strict=True):
        lines = (EXAMPLE / name).read_text().splitlines()
        assert [line for line in shown.splitlines() if line not in lines] == []


def test_every_command_does_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it shows is printed by the command, or by the client soon after it."""
    monkeypatch.setenv("PATH", f"{BINARIES}{os.pathsep}{os.environ['PATH']}")
    (up_command, first), *others = steps()
    assert up_command == ["istioctl up mesh.yaml"]
    with Up(EXAMPLE / "mesh.yaml", state=tmp_path / "s") as up:
        up.ready().hears(first)
        assert len(others) == 4
        assert [GENTLE] in [commands for commands, _ in others]
        for commands, shown in others:
            spoken = up.spoken
            said = "".join(run(command, up.state) for command in commands)
            if shown not in said:
                up.hears("client-v1.default", shown, after=spoken)
            if commands == [GENTLE]:
                assert "UNAVAILABLE" not in "\n".join(up.said.splitlines()[spoken:])
