"""`istioctl up` with gRPC applications without a proxy: `proxyless: true` in the mesh file, and no Envoy."""

import asyncio
import json
import os
import re
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


def shown_to_tools(up: Up) -> None:
    """Such workloads are listed and in step, and what the Manager has for them can be looked at."""
    status = json.loads(up.istioctl("proxy-status", "-o", "json").stdout)
    assert [(each["workload"]["name"], each["synced"]) for each in status] == [
        ("client-v1", True),
        ("reviews-v1", True),
    ]
    cluster = "outbound|9080||reviews.default.svc.cluster.local"
    listeners = up.istioctl("proxy-config", "listener", "client-v1").stdout
    assert re.search(r"^\(api\) reviews +9080 +ALL +Route: reviews.default.svc.cluster.local:9080$", listeners, re.M)
    assert "reviews.default" in up.istioctl("proxy-config", "route", "client-v1").stdout
    (endpoint,) = json.loads(up.istioctl("pc", "endpoint", "client-v1", "-o", "json").stdout)
    assert endpoint["cluster"] == cluster
    (found,) = json.loads(up.istioctl("pc", "cluster", "client-v1", "-o", "json").stdout)
    assert found["transport_socket"]["name"] == "envoy.transport_sockets.tls"
    assert "unix:" in up.istioctl("pc", "bootstrap", "client-v1").stdout
    assert "0.0.0.0" in up.istioctl("pc", "listener", "reviews-v1").stdout


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
        shown_to_tools(up)
        os.kill(up.pid("core.manager "), signal.SIGKILL)
        assert calls(tmp_path, me)()
        eventually(lambda: "client-v1" in up.istioctl("proxy-status").stdout, within=15)
        assert calls(tmp_path, me)()
