"""The config store survives `kill -9` at any instant."""

import subprocess
import sys
from pathlib import Path

import pytest

WRITER = Path(__file__).with_name("killed_writer.py")
KILLS, SECONDS = 300, 35.0


@pytest.mark.slow
@pytest.mark.timeout(90)
def test_no_acknowledged_write_is_lost_by_kills(tmp_path: Path) -> None:
    """However often its writer is killed, the store opens, holds every acknowledged write, and none by half."""
    command = [sys.executable, str(WRITER), str(tmp_path / "config.sqlite"), str(KILLS), str(SECONDS), "20261122"]
    env = {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS + 20, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    kills, writes, _ = map(int, done.stdout.split())
    assert kills >= KILLS // 3, "too slow a machine to say much"
    assert writes > kills, "it was killed before it could write"
