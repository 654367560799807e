"""`istioctl up --capture redirect --interception TPROXY`: an application sees the address of its caller, and only that
is different.

A sample of the call tables with it: tests/calls/test_envoy_tproxy.py. What the kernel's rules do: tests/capture.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import Misconfigured
from istioctl.local.testing import Up, eventually, inside
from proxy.capture import support
from proxy.capture.apply import program

pytestmark = pytest.mark.envoy

APPLICATION = """\
import contextlib, socket, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

still_open = set()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        shown = "URI=" in self.headers.get("x-forwarded-client-cert", "")
        address, port = self.client_address
        told = {"/open": len(still_open), "/port": port}
        text = str(told.get(self.path, f"{address} {'mTLS' if shown else '-'}"))
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments):
        pass


def serve(connection, peer):
    with connection, contextlib.suppress(ConnectionError):
        connection.sendall(peer.encode())
        while connection.recv(100) not in (b"", b"bye"):
            pass
    still_open.remove(connection)


def accept(listening):
    while True:
        connection, (peer, _) = listening.accept()
        still_open.add(connection)
        threading.Thread(target=serve, args=(connection, peer), daemon=True).start()


threading.Thread(target=accept, args=(socket.create_server(("0.0.0.0", 9000)),), daemon=True).start()
ThreadingHTTPServer(("0.0.0.0", 80), Handler).serve_forever()
"""

ASK = """\
import socket, sys, time
with socket.create_connection((sys.argv[1], 9000), timeout=5) as connection:
    print(connection.recv(100).decode(), end="")
    if sys.argv[2] == "bye":
        connection.sendall(b"bye")
        began = time.monotonic()
        assert connection.recv(100) == b""
        print(" closed at once" if time.monotonic() - began < 0.5 else " closed late", end="")
"""


def mesh_file(folder: Path) -> Path:
    (folder / "app.py").write_text(APPLICATION)
    run = f'command: ["{sys.executable}", app.py]'
    path = folder / "mesh.yaml"
    path.write_text(f"""\
services:
  client: {{workloads: {{v1: {{command: [sleep, "1000"]}}}}}}
  other: {{workloads: {{v1: {{command: [sleep, "1001"]}}}}}}
  web: {{ports: [80/http, 9000/tcp], workloads: {{v1: {{{run}}}}}}}
  plain: {{ports: [80/http], workloads: {{v1: {{{run}, interception: REDIRECT}}}}}}
""")
    return path


@pytest.fixture(scope="module", autouse=True)
def able() -> None:
    try:
        support.require_tproxy()
    except Misconfigured as error:
        if "CI" in os.environ:
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, able: None) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("mesh")
    arguments = ("--capture", "redirect", "--interception", "TPROXY")
    with Up(mesh_file(folder), state=folder / "s", arguments=arguments) as up:
        up.ready()
        for who in (CLIENT, OTHER, WEB):
            eventually(lambda who=who: "mTLS" in curl(up, who, "http://web/"), within=15, what=lambda: up.said)  # type: ignore[misc]
        yield up


CLIENT, OTHER, WEB = "sleep 1000", "sleep 1001", "app.py"


def pid(up: Up, who: str) -> int:
    """The application's; of the two that run one program, the one behind TPROXY."""
    if who != WEB:
        return up.pid(who)
    (envoy,) = up.pids("--config-path", "web-v1.default")
    network = os.readlink(f"/proc/{envoy}/ns/net")
    return next(each for each in up.pids("app.py") if os.readlink(f"/proc/{each}/ns/net") == network)


def curl(up: Up, who: str, *words: str) -> str:
    return inside(pid(up, who), "curl", "-sS", "--max-time", "5", *words)


def ask(up: Up, who: str, word: str = "") -> str:
    return inside(pid(up, who), sys.executable, "-c", ASK, "web", word)


def test_http_and_tcp_come_from_the_callers_address_and_over_mutual_tls(up: Up) -> None:
    """Two callers by turns: a connection that was kept for the one is not used for the other."""
    client, other = up.address("client-v1"), up.address("other-v1")
    for _ in range(3):
        assert curl(up, CLIENT, "http://web/") == f"{client} mTLS"
        assert curl(up, OTHER, "http://web/") == f"{other} mTLS"
    assert (ask(up, CLIENT), ask(up, OTHER)) == (client, other)


def test_ports_do_not_meet_those_of_the_caller(up: Up) -> None:
    """Both connections have its address. Programs connect from even ports; the one to the application is odd."""
    for caller in (CLIENT, OTHER, WEB):
        assert int(curl(up, caller, "http://web/port")) % 2 == 1


def test_one_workload_may_be_without_it(up: Up) -> None:
    """`interception` in the mesh file is stronger than the option; the rest is as it was."""
    eventually(lambda: curl(up, CLIENT, "http://plain/") == "127.0.0.6 mTLS", within=10)
    assert curl(up, OTHER, "http://plain/") == "127.0.0.6 mTLS"


def test_calls_to_oneself_pass_both_sides_once_or_none(up: Up) -> None:
    """By the service's name through the proxy, twice; by the pod's own address or localhost, past it."""
    own = up.address("web-v1")
    for _ in range(3):
        assert curl(up, WEB, "http://web/") == f"{own} mTLS"
    assert ask(up, WEB) == own
    assert curl(up, WEB, "http://127.0.0.1/") == "127.0.0.1 -"
    assert curl(up, WEB, f"http://{own}/") == f"{own} -"


def test_who_has_no_proxy_is_seen_as_well(up: Up) -> None:
    """Without mutual TLS, where that is allowed: here a program with the proxy's mark, which rules let pass."""
    marked = (
        "import socket, sys; s = socket.socket(); s.setsockopt(1, 36, 1336); s.settimeout(5);"
        "s.connect((sys.argv[1], 80)); s.sendall(b'GET / HTTP/1.1\\r\\nhost: web\\r\\nconnection: close\\r\\n\\r\\n');"
        "print(s.makefile().read().splitlines()[-1], end='')"
    )
    own, target = up.address("client-v1"), up.address("web-v1")
    assert inside(pid(up, CLIENT), sys.executable, "-c", marked, target) == f"{own} -"


def test_a_connection_ends_for_both_when_it_ends_for_one(up: Up) -> None:
    """The application closes, and its caller sees that; the caller goes, and so does the connection."""
    assert ask(up, CLIENT, "bye") == f"{up.address('client-v1')} closed at once"
    ask(up, CLIENT)
    eventually(lambda: curl(up, CLIENT, "http://web/open") == "0", within=2)


def test_an_envoy_that_was_killed_comes_back_to_it(up: Up) -> None:
    """The rules were there all the time, and the new one is as transparent."""
    (envoy,) = up.pids("--config-path", "web-v1.default")
    os.kill(envoy, signal.SIGKILL)
    eventually(lambda: up.pids("--config-path", "web-v1.default") not in ([], [envoy]), within=10)
    wanted = f"{up.address('client-v1')} mTLS"
    eventually(lambda: curl(up, CLIENT, "http://web/") == wanted, within=15)


def test_a_workload_changes_with_the_mesh_file(up: Up) -> None:
    """Its pod is made anew, with other rules; the Manager says the same to its Envoy."""
    file = up.state.parent / "mesh.yaml"
    file.write_text(file.read_text().replace(", interception: REDIRECT", ""))
    wanted = f"{up.address('client-v1')} mTLS"
    eventually(lambda: curl(up, CLIENT, "http://plain/") == wanted, within=15, what=lambda: up.said)


def test_ctrl_c_leaves_nothing(up: Up) -> None:
    """No process, no file, no rule and no route of ours on the host. This one ends the mesh of the others."""
    pids = up.pids()
    up.process.send_signal(signal.SIGINT)
    assert up.ended(within=10) == 0
    assert [each for each in pids if Path(f"/proc/{each}").exists()] == []
    assert not up.state.exists()
    assert "lookup 133" not in subprocess.run([program("ip"), "rule"], capture_output=True, text=True).stdout
