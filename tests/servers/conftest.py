"""Foreign servers that our own things are tested against: Debian's packages, without root, in the user's cache.

On a developer's machine a server that cannot be had skips its tests; in CI it has to be there.
"""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "istio-tests"
START, ANSWER = 20.0, 5.0
"""Seconds."""


class Missing(Exception):
    """The server cannot be had here; the text says why."""


def program(name: str) -> Path:
    """The program of the Debian package of the same name: installed, kept from an earlier run, or downloaded now."""
    if found := shutil.which(name):
        return Path(found)
    kept = CACHE / name
    if not kept.exists():
        _unpack(name, kept)
    return kept / "usr" / "bin" / name


def _unpack(name: str, kept: Path) -> None:
    """Two test runs may do this at once: the folder appears whole."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        _run(["apt-get", "download", "-qq", name], Path(folder))
        package = next(Path(folder).glob("*.deb"), None)
        if package is None:
            raise Missing(f"apt-get downloaded no {name}")
        _run(["dpkg", "-x", package.name, "unpacked"], Path(folder))
        try:
            (Path(folder) / "unpacked").rename(kept)
        except OSError:
            if not kept.exists():
                raise


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{command[0]}: {error}") from error
    if done.returncode:
        raise Missing(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")


class Prometheus:
    """A running one, by its HTTP API."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    async def query(self, promql: str) -> dict[tuple[tuple[str, str], ...], float]:
        """What an instant query finds: labels (sorted) → value."""
        found = json.loads(await asyncio.to_thread(self._get, f"/api/v1/query?query={quote(promql)}"))
        assert found["status"] == "success", found
        return {tuple(sorted(each["metric"].items())): float(each["value"][1]) for each in found["data"]["result"]}

    async def healthy(self) -> list[str]:
        """The addresses of those targets whose last scrape was good."""
        found = json.loads(await asyncio.to_thread(self._get, "/api/v1/targets"))["data"]["activeTargets"]
        return sorted(each["labels"]["instance"] for each in found if each["health"] == "up")

    def _get(self, path: str) -> str:
        with urlopen(self._url + path, timeout=ANSWER) as reply:
            return str(reply.read().decode())

    def ready(self) -> bool:
        try:
            self._get("/-/ready")
        except (URLError, OSError):
            return False
        return True


CONFIG = """
global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}
scrape_configs:
- job_name: sidecars
  metrics_path: /stats/prometheus
  static_configs: [{{targets: {targets}}}]
"""


@asynccontextmanager
async def running(binary: Path, folder: Path, targets: list[str]) -> AsyncIterator[Prometheus]:
    config = folder / "prometheus.yml"
    config.write_text(CONFIG.format(targets=json.dumps(targets)))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", "--log.level=error"]
    command = [str(binary), *options, f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "log").open("wb") as log:
        server = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, cwd=folder)
    try:
        found, deadline = Prometheus(port), time.monotonic() + START
        while not await asyncio.to_thread(found.ready):
            assert server.returncode is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "Prometheus is not ready"
            await asyncio.sleep(0.05)
        yield found
    finally:
        with suppress(ProcessLookupError):
            server.kill()
        await server.wait()


@pytest.fixture(scope="session")
def prometheus_binary() -> Path:
    """Debian's Prometheus."""
    try:
        return program("prometheus")
    except Missing as error:
        if os.environ.get("CI"):
            pytest.fail(f"no Prometheus: {error}")
        pytest.skip(f"no Prometheus: {error}")


@pytest.fixture
def scraping(prometheus_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> "Scraping":
    """`async with scraping([address, ...]) as prometheus`: one that scrapes these agents."""
    return lambda targets: running(prometheus_binary, tmp_path_factory.mktemp("prometheus"), targets)


Scraping = Callable[[list[str]], AbstractAsyncContextManager[Prometheus]]
