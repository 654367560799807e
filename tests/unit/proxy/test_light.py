"""The agent is light: there is one, as a process of its own, beside every workload."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    *("grpc", "google", "envoy", "httpx", "dependency_injector", "cryptography", "starlette", "uvicorn"),
    *("click", "rich", "h11", "http.client", "email", "importlib.metadata", "yaml"),
)
ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("module", ["proxy.agent", "proxy.machine"])
def test_agent_imports_nothing_heavy(module: str) -> None:
    """Neither grpc nor protobuf, no server, no client, no command line, no cryptography (that is a child's)."""
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
