"""What starting the command line costs: people wait for every `istioctl` on every key press of completion."""

import subprocess
import sys
from pathlib import Path

HEAVY = (
    "grpc",
    "envoy",
    "google.protobuf",
    "dependency_injector",
    "starlette",
    "uvicorn",
    "kubernetes",
    "consul",
    "marathon",
    "cfenv",
)
LONGEST_START = 0.150
"""Seconds of CPU that `import istioctl.cli` may take (processor time, so that a busy machine does not count)."""

COST = "import time; before = time.process_time(); import istioctl.cli; print(time.process_time() - before)"
LOADED = "import sys; import istioctl.cli; print(*sys.modules, sep='\\n')"


def run(program: str, root: Path) -> str:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


def test_the_command_line_loads_nothing_heavy(root: Path) -> None:
    """`import istioctl.cli` loads no server, no protos, no container and no platform's client."""
    loaded = set(run(LOADED, root).split())
    assert "istioctl.cli" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_the_command_line_starts_quickly(root: Path) -> None:
    """`import istioctl.cli` takes at most 150 ms, the best of five."""
    run(COST, root)  # byte code is written once
    assert min(float(run(COST, root)) for _ in range(5)) <= LONGEST_START
