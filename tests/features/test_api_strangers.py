"""What the config API takes of clients by HTTPS who never say who they are, say nonsense, or do not listen."""

import base64
import contextlib
import json
import resource
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from core.manager import entrance
from core.manager.api import patience
from core.manager.api.server import MOST_STRANGERS
from istioctl.testing.kubectl import Mesh, running

pytestmark = pytest.mark.timeout(60)

RULES = "/apis/networking.istio.io/v1/namespaces/default/virtualservices"
HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"


class Door:
    """Where the API is, and how one gets in."""

    def __init__(self, mesh: Mesh) -> None:
        found = json.loads(mesh.kubeconfig.read_text())
        cluster = found["clusters"][0]["cluster"]
        roots = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self.url: str = cluster["server"]
        self.trust = ssl.create_default_context(cadata=roots)
        self.token: str = found["users"][0]["user"]["token"]
        host, _, port = self.url.removeprefix("https://").rpartition(":")
        self.place = (host, int(port))

    def client(self) -> httpx.Client:
        """Somebody with a token, who does not wait for long."""
        headers = {"authorization": f"Bearer {self.token}"}
        return httpx.Client(base_url=self.url, verify=self.trust, headers=headers, timeout=5.0)

    def tcp(self) -> socket.socket:
        return socket.create_connection(self.place, timeout=5)

    def tls(self) -> ssl.SSLSocket:
        return self.trust.wrap_socket(self.tcp(), server_hostname=self.place[0])


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with running(tmp_path_factory.mktemp("mesh")) as mesh:
        yield mesh


@pytest.fixture
def door(mesh: Mesh) -> Door:
    return Door(mesh)


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Both ends of every connection are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_answers_are_not_held_back(door: Door) -> None:
    """Request after request on one connection: no answer waits 40 ms for an acknowledgement (Nagle's algorithm)."""
    took = []
    with door.client() as client:
        for _ in range(60):
            began = time.monotonic()
            assert client.get(RULES).status_code == 200
            took.append(time.monotonic() - began)
    assert sorted(took[30:])[15] < 0.03, took


def closed(connection: socket.socket) -> bool:
    """The server has ended it; what it said before does not count. Waits for 5 s at most."""
    connection.settimeout(5)
    with contextlib.suppress(ConnectionError):
        while connection.recv(65536):
            pass
    return True


@pytest.mark.usefixtures("many_descriptors")
def test_silent_connections_keep_nobody_out(door: Door) -> None:
    """500 that never begin TLS: who has a token is served at once, and the eldest of them have been cut off."""
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(door.tcp()) for _ in range(500)]
        began = time.monotonic()
        with door.client() as client:
            assert client.get(RULES).status_code == 200
        assert time.monotonic() - began < 3
        assert closed(silent[0])


@pytest.mark.usefixtures("many_descriptors")
def test_connections_without_a_token_keep_nobody_out(door: Door) -> None:
    """Neither do those that greet by TLS and then ask nothing, or only what needs no token; who was in stays."""
    with contextlib.ExitStack() as stack:
        known = stack.enter_context(door.client())
        watch = stack.enter_context(known.stream("GET", RULES, params={"watch": "1"}))
        strangers = []
        for number in range(MOST_STRANGERS + 30):
            strangers.append(stack.enter_context(door.tls()))
            if number % 2:
                strangers[-1].sendall(HEAD + b"\r\n")
        began = time.monotonic()
        with door.client() as client:
            metadata = {"name": "told", "namespace": "default"}
            spec = {"hosts": ["a"], "http": [{"route": [{"destination": {"host": "a"}}]}]}
            kind = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService"}
            assert client.post(RULES, json={**kind, "metadata": metadata, "spec": spec}).status_code == 201
        assert "told" in next(watch.iter_lines())
        assert time.monotonic() - began < 3
        assert closed(strangers[0])


def test_what_is_no_tls_is_cut_off(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain HTTP and rubbish at once, half a greeting when its time is over."""
    monkeypatch.setattr(entrance, "HANDSHAKE", 0.3)
    for said in (HEAD + b"\r\n", bytes(range(256)) * 40, b"\x16\x03\x01\x02\x00\x01"):
        with door.tcp() as connection:
            connection.sendall(said)
            assert closed(connection), said[:20]


def test_a_huge_head_is_refused(door: Door) -> None:
    """Without being read to its end."""
    with door.tls() as connection:
        with contextlib.suppress(OSError):
            connection.sendall(HEAD)
            for _ in range(200):
                connection.sendall(b"X-Filler: " + b"x" * 10_000 + b"\r\n")
        assert closed(connection)
    with door.client() as client:
        assert client.get(RULES).status_code == 200


def test_a_watcher_that_never_reads_is_cut_off(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept for it beyond what its connection holds; the others hear on, and writes go on as ever."""
    monkeypatch.setattr(patience, "STALLED", 0.5)
    ask = f"GET {RULES}?watch=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {door.token}\r\n\r\n"
    spec = {"hosts": ["a"], "http": [{"route": [{"destination": {"host": "a"}}]}]}
    big: dict[str, Any] = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "spec": spec}
    with door.tcp() as raw, door.client() as client:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf = door.trust.wrap_socket(raw, server_hostname=door.place[0])
        deaf.sendall(ask.encode())
        assert deaf.recv(100)
        for number in range(40):
            metadata = {"name": f"big{number}", "namespace": "default", "annotations": {"a": "x" * 200_000}}
            assert client.post(RULES, json={**big, "metadata": metadata}).status_code == 201
        ended, deadline = False, time.monotonic() + 10
        while not ended and time.monotonic() < deadline:
            try:
                deaf.sendall(b"x")
                time.sleep(0.02)  # what was cut off is only noticed by writing
            except OSError:
                ended = True
        deaf.close()
        assert ended
        assert client.get(f"{RULES}/big0").status_code == 200
