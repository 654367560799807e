"""A Manager with nothing but its config API in use, and a real kubectl before it. For tests of several folders."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from core.manager.paths import api_directory, kubeconfig
from core.manager.process import serving
from core.manager.settings import Settings
from platforms.memory.platform import MemoryPlatform

_PATIENCE = 20.0
"""Seconds for one command, and for the Manager to begin."""


class Mesh:
    """A Manager on a platform in memory, in a thread of its own, with the config API on HTTPS."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.memory: MemoryPlatform
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    @property
    def kubeconfig(self) -> Path:
        return kubeconfig(self.state)

    @property
    def tokens(self) -> Path:
        return api_directory(self.state) / "tokens"

    @property
    def audit(self) -> Path:
        return api_directory(self.state) / "audit.jsonl"

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self.memory = MemoryPlatform()
        settings = Settings(state=self.state, platform="memory", api_listen="127.0.0.1:0")
        async with serving(settings, self.memory.record):
            self._ready.set()
            await self._stop.wait()
        self.memory.close()

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(_PATIENCE), "the Manager did not begin"

    def stop(self) -> None:
        """Once more is no harm."""
        if not self._thread.is_alive():
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_PATIENCE)
        assert not self._thread.is_alive(), "the Manager did not end"


@contextlib.contextmanager
def running(state: Path) -> Iterator[Mesh]:
    mesh = Mesh(state)
    mesh.start()
    try:
        yield mesh
    finally:
        mesh.stop()


def program() -> str:
    """Where the kubectl of the wheel is, "" when it is not installed."""
    return shutil.which("kubectl", path=str(Path(sys.executable).parent)) or ""


class Kubectl:
    """Runs one kubectl after the other. Never without a kubeconfig of the mesh: it would look for another cluster."""

    def __init__(self, config: Path, home: Path, *, namespace: str = "default") -> None:
        self._config = config
        self._home = home
        self.namespace = namespace

    def command(self, *words: str) -> list[str]:
        assert self._config.is_file(), "no kubeconfig"
        return [program(), "--kubeconfig", str(self._config), "--namespace", self.namespace, *words]

    @property
    def environment(self) -> dict[str, str]:
        """A home of its own: that is where discovery is cached."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("KUBE", "EDITOR"))}
        return {**kept, "HOME": str(self._home)}

    def run(self, *words: str, stdin: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*words),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            env={**self.environment, **environment},
        )

    def __call__(self, *words: str, stdin: str = "", **environment: str) -> str:
        """What it prints; it has to succeed."""
        done = self.run(*words, stdin=stdin, **environment)
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}"
        return done.stdout

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """One that goes on."""
        return subprocess.Popen(
            self.command(*words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.environment
        )
