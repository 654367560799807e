"""`istio-agent run --proxyless` beside a Manager of "another machine": gRPC's own xDS client by TCP and mutual TLS."""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from core.manager.ca.storage import CERTIFICATE
from core.manager.paths import identity_directory
from core.manager.testing.grpc_app import Outcome, Task
from core.manager.testing.grpc_control import told
from istioctl.local.testing import eventually, istioctl
from platforms.local.addresses import Allocator
from platforms.local.decode import load
from platforms.local.ledger import Ledger
from platforms.local.mesh import LEDGER
from platforms.local.plan import plan

SLOT = 6
MESH = """\
services:
  client:
    workloads:
      v1: {proxyless: true}
  reviews:
    ports: [9080/grpc]
    workloads:
      v1: {proxyless: true, command: [x]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
"""


def free_port() -> int:
    with contextlib.closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Site:
    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder, folder / "state"
        (folder / "mesh.yaml").write_text(MESH)
        self.state.mkdir(mode=0o700)
        file = load(folder / "mesh.yaml").file
        assert file is not None
        planned = plan(file, Allocator(SLOT, ledger=Ledger(self.state / LEDGER)))
        self.addresses = {workload.key.name: workload.address for workload in planned.workloads}
        self.https, self.xds = free_port(), free_port()

    def manager(self) -> list[str]:
        options = {"mesh_file": str(self.folder / "mesh.yaml"), "state": str(self.state), "slot": SLOT}
        listen = {"ca_listen": f"127.0.0.1:{self.https}", "xds_listen": f"127.0.0.1:{self.xds}"}
        settings = {"state": str(self.state), "options": {**options, "slot_held": True}, **listen}
        return [sys.executable, "-m", "core.manager", json.dumps(settings)]

    def agent(self, name: str, *served: str) -> list[str]:
        token, roots = self.folder / f"{name}.token", identity_directory(self.state) / CERTIFICATE

        def given() -> bool:
            done = istioctl("token", "create", "--workload", name, state=self.state)
            return done.returncode == 0 and bool(token.write_text(done.stdout))

        eventually(given, within=15)
        return [
            *(sys.executable, "-m", "proxy", "run", "--proxyless", "--name", name, "--address", self.addresses[name]),
            *("--manager", f"https://127.0.0.1:{self.https}", "--xds", f"localhost:{self.xds}"),
            *("--token", str(token), "--roots", str(roots), "--directory", str(self.folder / f"{name}.agent")),
            *(("--port", "9080") if served else ()),
            *("--", sys.executable, "-m", "core.manager.testing.grpc_app", str(self.folder / name), *served),
        ]


@contextlib.contextmanager
def running(argv: list[str]) -> Iterator[None]:
    child = subprocess.Popen(argv)
    try:
        yield
    finally:
        child.terminate()
        child.wait(15)


def test_both_sides_join_by_token_and_call_by_mutual_tls(tmp_path: Path) -> None:
    """Their certificates are files of gRPC's bootstrap, for the Manager and for each other alike."""
    site = Site(tmp_path)

    def answered() -> bool:
        outcome = asyncio.run(told(tmp_path / "client-v1", Task(target="xds:///reviews:9080", timeout=3.0)))
        return outcome == Outcome(answers={"v1 spiffe://cluster.local/ns/default/sa/default": 1})

    with (
        running(site.manager()),
        running(site.agent("reviews-v1", "v1", f"{site.addresses['reviews-v1']}:9080")),
        running(site.agent("client-v1")),
    ):
        eventually(answered, within=20)
