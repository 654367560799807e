"""`istioctl up` with gRPC applications without a proxy: `proxyless: true` in the mesh file, and no Envoy."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from core.manager.testing.grpc_app import Outcome, Task
from core.manager.testing.grpc_control import told
from istioctl.local.testing import Up, eventually

STRICT = """\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
"""


def mesh(folder: Path) -> str:
    run = f'["{sys.executable}", -m, core.manager.testing.grpc_app, {folder}/'
    return f"""\
services:
  client:
    workloads:
      v1: {{proxyless: true, command: {run}client]}}
  reviews:
    ports: [9080/grpc]
    workloads:
      v1: {{proxyless: true, command: {run}v1, v1, "$(APP_IP):$(PORT)"], serviceAccount: reviews}}
"""


def calls(folder: Path, *answers: str) -> Callable[[], bool]:
    """Whether the client's calls are all answered, and so."""

    def answered() -> bool:
        outcome = asyncio.run(told(folder / "client", Task(target="xds:///reviews:9080", count=5, timeout=2.0)))
        return outcome == Outcome(answers=dict.fromkeys(answers, 5))

    return answered


def test_applications_of_a_mesh_file_call_each_other_without_an_envoy(tmp_path: Path) -> None:
    """Plain at first, by mutual TLS after the rule, and still when the Manager was killed."""
    file = tmp_path / "mesh.yaml"
    file.write_text(mesh(tmp_path))
    with Up(file, state=tmp_path / "state") as up:
        up.ready()
        eventually(calls(tmp_path, "v1 nobody"), within=15)
        assert up.pids("--config-path") == []
        assert up.istioctl("apply", "-f", "-", stdin=STRICT).returncode == 0
        me = "v1 spiffe://cluster.local/ns/default/sa/default"
        eventually(calls(tmp_path, me), within=15)
        os.kill(up.pid("core.manager "), signal.SIGKILL)
        assert calls(tmp_path, me)()
        eventually(lambda: "client-v1" in up.istioctl("proxy-status").stdout, within=15)
        assert calls(tmp_path, me)()
