"""`istio-agent run` beside a Manager of "another machine": certificates over HTTPS for a token, xDS with mutual TLS."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from core.manager.ca.storage import CERTIFICATE
from core.manager.paths import identity_directory
from istioctl.local.testing import eventually, istioctl
from platforms.local.addresses import Allocator
from platforms.local.decode import load
from platforms.local.ledger import Ledger
from platforms.local.mesh import LEDGER
from platforms.local.plan import plan

pytestmark = pytest.mark.envoy

MESH = """\
services:
  web:
    ports: [80/http]
    workloads:
      v1: {command: [x]}
"""
SLOT = 5
APPLICATION = """\
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
signal.signal(signal.SIGUSR1, lambda *_: print("usr1", flush=True))
print("started", flush=True)
while True:
    time.sleep(0.05)
"""


def free_port() -> int:
    with contextlib.closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Running:
    """A child process and everything it said."""

    def __init__(self, *argv: str, **environment: str) -> None:
        self._lines: list[str] = []
        self.process = subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environment},
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            self._lines.extend(lines)

    @property
    def said(self) -> str:
        return "".join(self._lines)

    def hears(self, text: str, *, within: float = 20.0, times: int = 1) -> None:
        eventually(lambda: self.said.count(text) >= times, within=within, what=lambda: f"{text} in:\n{self.said}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        try:
            code = self.process.wait(20)
        finally:
            self.process.kill()
            self._reader.join(5)
        return code


@contextlib.contextmanager
def running(*argv: str) -> Iterator[Running]:
    found = Running(*argv)
    try:
        yield found
    finally:
        if found.process.poll() is None:
            found.stop(signal.SIGKILL)
        found._reader.join(5)


class Mesh(msgspec.Struct):
    """A Manager with ports, and the address of its one workload."""

    folder: Path
    address: str
    https: int = msgspec.field(default_factory=free_port)
    xds: int = msgspec.field(default_factory=free_port)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def manager(self, *, lifetime: float = 3600.0) -> list[str]:
        settings = {
            "state": str(self.state),
            "options": {"mesh_file": str(self.folder / "mesh.yaml"), "state": str(self.state), "slot": SLOT}
            | {"slot_held": True},
            "ca_listen": f"127.0.0.1:{self.https}",
            "xds_listen": f"127.0.0.1:{self.xds}",
            "certificate_lifetime": lifetime,
        }
        return [sys.executable, "-m", "core.manager", json.dumps(settings)]

    def agent(self, *more: str) -> list[str]:
        roots = identity_directory(self.state) / CERTIFICATE
        return [
            *(sys.executable, "-m", "proxy", "run", "--name", "web-v1", "--address", self.address),
            *("--port", "80:8080", "--manager", f"https://127.0.0.1:{self.https}", "--xds", f"localhost:{self.xds}"),
            *("--token", str(self.folder / "token"), "--roots", str(roots), "--directory", str(self.folder / "agent")),
            *(*more, "--", sys.executable, "-c", APPLICATION),
        ]

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{self.address}:15020{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)


@pytest.fixture
def mesh(tmp_path: Path) -> Mesh:
    (tmp_path / "mesh.yaml").write_text(MESH)
    (tmp_path / "state").mkdir(mode=0o700)
    file = load(tmp_path / "mesh.yaml").file
    assert file is not None
    planned = plan(file, Allocator(SLOT, ledger=Ledger(tmp_path / "state" / LEDGER)))
    return Mesh(tmp_path, planned.workloads[0].address)


def token(mesh: Mesh) -> None:
    done = istioctl("token", "create", "--workload", "web-v1", state=mesh.state)
    assert done.returncode == 0, done.stderr
    (mesh.folder / "token").write_text(done.stdout)


def test_joined_by_a_token_and_stays_by_its_certificate(mesh: Mesh) -> None:
    """A token for one use: the agent gets in, renews by its own certificate, and comes back after a stop without it.

    The application starts after Envoy is ready; signals reach it; its exit code is the agent's.
    """
    with running(*mesh.manager(lifetime=16.0)) as manager:
        manager.hears("ready")
        token(mesh)
        with running(*mesh.agent()) as agent:
            agent.hears("started")
            assert agent.said.index("istio-agent: ready") < agent.said.index("started"), agent.said
            first = json.loads(mesh.get("/state")[1])
            assert first["ready"]
            assert first["certificate"]["identity"] == "spiffe://cluster.local/ns/default/sa/default"
            agent.process.send_signal(signal.SIGUSR1)
            agent.hears("usr1")
            eventually(lambda: serial(mesh) not in ("", first["certificate"]["serial"]), within=14)
            assert mesh.get("/stats/prometheus")[0] == 200
            bootstrap = (mesh.folder / "agent" / "envoy.json").read_text()
            assert (mesh.folder / "token").read_text().strip() not in bootstrap
            assert agent.stop() == 7, agent.said
        with running(*mesh.agent()) as agent:
            agent.hears("started")
            assert agent.stop(signal.SIGINT) == 7, agent.said
        assert "Traceback" not in agent.said
        manager.stop()


def serial(mesh: Mesh) -> str:
    status, text = mesh.get("/state")
    return str(json.loads(text)["certificate"]["serial"]) if status == 200 else ""


def test_a_spent_token_is_refused_and_the_fix_is_said(mesh: Mesh) -> None:
    """Somebody else with the same token gets nothing; the agent says what the Manager said, and goes on trying."""
    with running(*mesh.manager()) as manager:
        manager.hears("ready")
        token(mesh)
        with running(*mesh.agent()) as agent:
            agent.hears("started")
            assert agent.stop() == 7
        for pair in (mesh.folder / "agent").rglob("pair.pem"):
            pair.unlink()
        with running(*mesh.agent()) as thief:
            thief.hears("waiting for a certificate: the Manager issues no certificate")
            assert "started" not in thief.said
            assert thief.stop() == 0
        manager.stop()


def test_without_a_manager_and_without_hold_the_application_runs(mesh: Mesh) -> None:
    """It is said every few seconds what is waited for; readiness is refused with the reason."""
    (mesh.folder / "roots.pem").write_text("")
    argv = [sys.executable, "-m", "proxy", "run", "--name", "web-v1", "--address", mesh.address, "--no-hold"]
    argv += ["--state-dir", str(mesh.state), "--", sys.executable, "-c", APPLICATION]
    with running(*argv) as agent:
        agent.hears("started", within=5)
        agent.hears("istio-agent: waiting for a certificate: no Manager at", times=2)
        status, text = mesh.get("/state")
        assert status == 200
        assert "no Manager at" in json.loads(text)["certificate_problem"]
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(f"http://{mesh.address}:15021/healthz/ready", timeout=5)
        memory = Path(f"/proc/{agent.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", memory)
        assert found is not None
        assert int(found[1]) < 30_000
        assert agent.stop() == 7


def test_wishes_that_make_no_sense_are_told(mesh: Mesh) -> None:
    """What is missing is named, with what to give; exit code 1."""
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "run", "--name", "a", "--address", mesh.address, "--manager", "https://x"],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 1
    assert "--manager alone is not enough" in done.stderr
    assert "fix:" in done.stderr
