"""`istioctl demo` as somebody meets it: it proves itself, its table moves, and Ctrl-C leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from istioctl.local.testing import Up, eventually

pytestmark = pytest.mark.envoy

CAPTURES = ("none", "redirect")


@pytest.fixture
def state() -> Iterator[Path]:
    """A short path, because sockets are made below it."""
    with TemporaryDirectory(prefix="d") as folder:
        yield Path(folder) / "s"


def demo(state: Path, *arguments: str) -> Up:
    return Up(None, state=state, arguments=("demo", *arguments))


def stop(up: Up) -> float:
    """Ctrl-C, as a terminal sends it to everybody in the foreground; how long the end took."""
    began = time.monotonic()
    os.killpg(up.process.pid, signal.SIGINT)
    assert up.ended(within=10) == 0, up.said
    return time.monotonic() - began


def nothing_is_left(up: Up) -> None:
    assert up.pids() == []
    assert not up.state.exists()
    assert "Traceback" not in up.said


@pytest.mark.slow
@pytest.mark.parametrize("capture", CAPTURES)
def test_the_demo_proves_itself(capture: str, state: Path) -> None:
    """Every step holds, the exit code says so, and nothing is left; where the capture cannot run, this fails."""
    with demo(state, "--check", "--capture", capture, "-o", "json") as up:
        code = up.ended(within=90)
        said = json.loads(up.said[up.said.index("\n{\n") :])
        failed = [(step["title"], step["seen"]) for step in said["steps"] if not step["passed"]]
        assert failed == [], up.said
        assert (code, said["passed"], said["capture"]) == (0, True, capture)
        assert len(said["steps"]) > 10
        nothing_is_left(up)


@pytest.mark.parametrize("capture", CAPTURES)
def test_folders_with_our_names_are_not_taken_for_ours(capture: str, state: Path) -> None:
    """Somebody starts the demo in a project of theirs, with packages called as ours are."""
    for name in ("core", "proxy", "platforms", "istioctl"):
        (state.parent / name).mkdir()
        (state.parent / name / "__init__.py").write_text("raise ImportError('this is somebody else')")
    program = str(Path(sys.executable).with_name("istioctl"))
    script = [program, "--state-dir", str(state), "demo", "--capture", capture]
    done = subprocess.run([*script, "--duration", "1"], cwd=state.parent, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "somebody else" in done.stdout + done.stderr) == (0, False), done.stderr
    assert "The page:" in done.stdout


def rows(up: Up) -> dict[tuple[str, str], dict[str, float]]:
    """The newest scene of a demo that prints JSON."""
    scenes = [line for line in up.said.splitlines() if line.startswith('{"time"')]
    newest = json.loads(scenes[-1])["rows"] if scenes else []
    return {(row["service"], row["version"]): row for row in newest}


@pytest.mark.slow
@pytest.mark.parametrize("capture", CAPTURES)
def test_the_table_shows_what_a_second_terminal_does(capture: str, state: Path) -> None:
    """Calls of all six versions, all by mutual TLS; after the first hint only v3 of reviews is called, within 15 s."""
    with demo(state, "--capture", capture, "-o", "json") as up:
        assert eventually(lambda: _all_busy(up), within=30, what=lambda: up.said[-2000:])
        done = up.istioctl("shift", "reviews", "v3=100")
        assert done.returncode == 0
        assert "weight: 100" in done.stdout
        assert eventually(lambda: _only_v3(up), within=15, what=lambda: str(rows(up)))
        assert stop(up) < 3
        assert "removed: " in up.said
        nothing_is_left(up)


def test_the_tools_find_the_running_demo_in_order(state: Path) -> None:
    """`check` finds nothing wrong, until the Manager is away; `proxy-config secret` tells who a workload is, no key."""
    with demo(state, "--plain", "--capture", "none") as up:
        up.hears("The page", within=30)
        checked = json.loads(up.istioctl("check", "--capture", "none", "-o", "json").stdout)
        assert _wrong(checked) == []
        assert len(checked["categories"][-1]["checks"]) > 6
        secrets = up.istioctl("proxy-config", "secret", "reviews-v1").stdout
        assert "spiffe://cluster.local/ns/default/sa/bookinfo-reviews" in secrets
        assert "PRIVATE KEY" not in up.istioctl("proxy-config", "all", "reviews-v1", "-o", "json").stdout
        os.kill(up.pid("core.manager"), signal.SIGSTOP)
        away = up.istioctl("check", "--capture", "none", "-o", "json")
        os.kill(up.pid("core.manager"), signal.SIGCONT)
        assert (away.returncode, _wrong(json.loads(away.stdout))) == (1, ["the Manager answers"])
        assert stop(up) < 3
        nothing_is_left(up)


def _wrong(found: Any) -> list[str]:
    checks = [check for category in found["categories"] for check in category["checks"]]
    return [check["text"] for check in checks if check["outcome"] == "failed"]


def test_check_finds_what_a_killed_demo_left(state: Path) -> None:
    """Its processes are gone with it, its files are not: that is said, and the next demo clears them away."""
    with demo(state, "--plain", "--capture", "none") as up:
        up.hears("The page", within=30)
        up.process.kill()
        eventually(lambda: not up.pids(), within=10, what=lambda: str(up.pids()))
        left = up.istioctl("check", "--capture", "none", "-o", "short").stdout
        assert "no files of an earlier mesh are left" in left
        assert f"rm -r {state}" in left
    with demo(state, "--plain", "--capture", "none", "--duration", "1", "--no-load") as again:
        assert again.ended(within=30) == 0
        nothing_is_left(again)


def _all_busy(up: Up) -> bool:
    found = rows(up)
    return len(found) == 6 and all(row["rate"] > 1 and row["success"] == row["mutual"] == 1.0 for row in found.values())


def _only_v3(up: Up) -> bool:
    found = {version: row["rate"] for (service, version), row in rows(up).items() if service == "reviews"}
    return found["v1"] == found["v2"] == 0 and found["v3"] > 15


@pytest.mark.parametrize("capture", CAPTURES)
@pytest.mark.parametrize("moment", ["state in", "manager  ", "ready at", "ready after", "The page"])
def test_ctrl_c_leaves_nothing_whenever_it_comes(moment: str, capture: str, state: Path) -> None:
    """While it starts, when it is ready, and under load: everything is gone within 3 s, and it says what."""
    with demo(state, "--plain", "--capture", capture) as up:
        up.hears(moment, within=30)
        assert stop(up) < 3
        assert "removed: " in up.said
        nothing_is_left(up)


def test_ctrl_c_ends_a_proof_too(state: Path) -> None:
    """In the middle of a step; an unfinished proof is no proof."""
    with demo(state, "--check", "--capture", "none") as up:
        up.hears("the page comes", within=30)
        os.killpg(up.process.pid, signal.SIGINT)
        assert up.ended(within=10) == 1
        nothing_is_left(up)


def test_it_ends_when_nobody_reads_it(state: Path) -> None:
    """`istioctl demo -o json | head -1` prints one line and is gone, without a complaint."""
    program = [sys.executable, "-c", "from istioctl.cli import main; main()", "--state-dir", str(state)]
    command = [*program, "demo", "-o", "json", "--capture", "none"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert '"rows"' in running.stdout.readline()
        running.stdout.close()
        said = running.stderr.read()
        assert running.wait(20) == 0, said
    assert "removed: " in said
    assert "BrokenPipe" not in said
    assert not state.exists()


def test_it_ends_by_itself_when_asked_to(state: Path) -> None:
    """After the duration, counted from the first whole page."""
    with demo(state, "--plain", "--capture", "none", "--duration", "1", "--no-load") as up:
        assert up.ended(within=30) == 0
        nothing_is_left(up)
