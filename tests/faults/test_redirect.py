"""`istioctl up --capture redirect`: real Envoys in pods, applications that know of nothing, and nothing left of it."""

import http.client
import http.server
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from istioctl.local.testing import MeshFile, Up, eventually, inside
from proxy.testing.processes import alive

pytestmark = pytest.mark.envoy

REDIRECT = ("--capture", "redirect")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> MeshFile:
    return MeshFile(tmp_path_factory.mktemp("mesh"))


@pytest.fixture(scope="module")
def up(file: MeshFile) -> Iterator[Up]:
    with Up(file.path, state=file.path.parent / "state", arguments=REDIRECT) as up:
        up.ready()
        eventually(lambda: {curl(up, "http://web/") for _ in range(8)} == {"one", "two"}, within=15)
        yield up


def curl(up: Up, *words: str) -> str:
    """By the application of the client, which sleeps and has no sidecar settings of any kind."""
    return inside(up.pid("sleep 1000"), "curl", "-sS", "--max-time", "5", *words)


def test_a_plain_call_by_name_goes_through_both_proxies(up: Up) -> None:
    """No HTTP proxy, no variable: the name of the service is all it takes, short or long, or its virtual address."""
    names = ("web", "web.default", "web.default.svc.cluster.local:80", "240.240.0.1")
    for name in names:
        assert answered(up, f"http://{name}/") in ("one", "two")
    assert {curl(up, "http://web/") for _ in range(16)} == {"one", "two"}


def test_calls_between_pods_are_mutual_tls(up: Up) -> None:
    """The metrics of the caller's proxy say with whom it spoke, and that it was encrypted."""
    assert {curl(up, "http://web/") for _ in range(8)} <= {"one", "two"}
    seen = eventually(lambda: metrics(up, "client-v1.default"), within=5)
    assert 'destination_principal="spiffe://cluster.local/ns/default/sa/default"' in seen
    assert 'connection_security_policy="unknown"' in seen  # what the caller's side always says, in Istio too
    server = eventually(lambda: metrics(up, "web-v1.default"), within=5)
    assert 'connection_security_policy="mutual_tls"' in server


def answered(up: Up, url: str) -> str:
    """The first answer that is one."""
    return eventually(lambda: curl(up, url), within=15, what=lambda: up.said)


def metrics(up: Up, workload: str) -> str:
    """Its lines about requests, as the agent tells them on its socket."""
    connection = http.client.HTTPConnection("agent", timeout=5)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(up.state / "proxies" / workload / "agent.sock"))
    connection.request("GET", "/stats/prometheus")
    text = connection.getresponse().read().decode()
    connection.close()
    return "\n".join(line for line in text.splitlines() if line.startswith("istio_requests_total"))


def test_rules_apply_to_calls_that_know_of_nothing(up: Up) -> None:
    """A header that a route adds is on the answer."""
    rule = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http: [{headers: {response: {set: {x-rule: here}}}, route: [{destination: {host: web}}]}]
"""
    assert up.istioctl("apply", "-f", "-", stdin=rule).returncode == 0
    eventually(lambda: "x-rule: here" in curl(up, "-i", "http://web/").lower(), within=10)
    assert up.istioctl("delete", "-f", "-", stdin=rule).returncode == 0


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"outside")

    def log_message(self, *arguments: object) -> None: ...


def test_what_an_agent_tells_is_reached_from_its_pod_and_its_neighbours(up: Up) -> None:
    """Ready and metrics, past the proxy; what changes something only its own pod may ask for."""
    near, far = "127.0.0.1", up.address("web-v1")
    status = ("-o", "/dev/null", "-w", "%{http_code}")
    for place in (near, far):
        assert curl(up, f"http://{place}:15021/healthz/ready") == "ready\n"
        assert curl(up, *status, f"http://{place}:15020/stats/prometheus") == "200"
    assert curl(up, *status, "-X", "POST", f"http://{far}:15021/quitquitquit") == "403"
    assert curl(up, *status, "-X", "POST", f"http://{far}:15020/quitquitquit") == "403"
    assert up.pid("-m proxy -", "web-v1.default")


def test_metrics_of_an_application_are_served_with_its_proxys(up: Up, file: MeshFile) -> None:
    """`metrics` in the mesh file says where the agent, which is in the same pod, finds them."""
    told = file.runs("app_figure 7").replace("env:", "metrics: {port: 80}, env:")
    file.write(f"  new:\n    ports: [80/http]\n    workloads:\n      v1: {told}\n")
    place = f"http://{up.address('new-v1')}:15020/stats/prometheus"
    eventually(lambda: "app_figure 7" in (said := curl(up, place)) and "envoy_" in said, within=15)
    file.write()
    up.hears("gone: new-v1.default")


def test_pods_come_and_go_with_the_mesh_file_and_reach_what_runs_on_the_host(up: Up, file: MeshFile) -> None:
    """A service whose application somebody started on the host's loopback is called like any other."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_address[1]}"
        file.write(f'  old:\n    ports: [80/http]\n    workloads:\n      v1: {{address: "{address}"}}\n')
        eventually(lambda: curl(up, "http://old/") == "outside", within=15, what=lambda: up.said)
        file.write()
        up.hears("gone: old-v1.default")
        eventually(lambda: curl(up, "http://old/") != "outside", within=15)
        server.shutdown()
    assert curl(up, "http://web/") in ("one", "two")


def test_an_application_that_is_not_there_gets_no_calls(up: Up) -> None:
    """Its agent, in the same pod, says so; once it is back, it gets its share again."""
    for pid in up.pids("app.py"):
        if b"SAYS=one" in Path(f"/proc/{pid}/environ").read_bytes() and b"app.py" in application_words(pid):
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: {curl(up, "http://web/") for _ in range(12)} == {"one", "two"}, within=20)


def application_words(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1]


def test_ctrl_c_leaves_nothing(mesh_file: MeshFile, tmp_path: Path) -> None:
    """No process, no file; namespaces live only as long as their processes."""
    with Up(mesh_file.path, state=tmp_path / "s", arguments=REDIRECT) as up:
        up.ready()
        pids = up.pids()
        assert any(up.pids("proxy.capture.inside"))
        up.process.send_signal(signal.SIGINT)
        assert up.ended(within=10) == 0
        assert [pid for pid in pids if alive(pid)] == []
        assert not (tmp_path / "s").exists()


def test_when_it_is_killed_nothing_goes_on(mesh_file: MeshFile, tmp_path: Path) -> None:
    """Neither Envoys nor applications nor the networks they were in."""
    with Up(mesh_file.path, state=tmp_path / "s", arguments=REDIRECT) as up:
        up.ready()
        up.process.kill()
        up.process.wait()
        eventually(lambda: not up.pids(), within=10, what=lambda: str(up.pids()))


def test_without_its_networks_a_mesh_ends_and_says_why(mesh_file: MeshFile, tmp_path: Path) -> None:
    """When the process that holds them is killed; nothing else could be done about it."""
    with Up(mesh_file.path, state=tmp_path / "s", arguments=REDIRECT) as up:
        up.ready()
        os.kill(up.pid("proxy.capture.inside"), signal.SIGKILL)
        assert up.ended(within=15) == 1
        assert "error: the process that holds the networks of the mesh has ended" in up.said
        assert up.pids() == []
