"""The agent is light: it also has to start as a process of its own beside every workload."""

import subprocess
import sys
from pathlib import Path

HEAVY = ("grpc", "google", "envoy", "httpx", "dependency_injector")


def test_agent_imports_nothing_heavy() -> None:
    """Importing the agent loads neither grpc nor protobuf nor Envoy's protos."""
    code = f"import sys, proxy.agent; print([name for name in {HEAVY} if name in sys.modules])"
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
