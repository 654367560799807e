"""What the agent answers over HTTP, within limits: readiness and its reason, merged metrics, health of ports."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from core.model.service import WorkloadKey
from core.model.workload import AppPort, Explicit, Workload
from proxy.health import Admin
from proxy.identity.certificate import Facts
from proxy.settings import Scrape
from proxy.state import Phase, State
from proxy.status import Status
from proxy.web import server as web
from proxy.web.client import Question, Reply, exchange

WORKLOAD = Workload(key=WorkloadKey("default", "a-1"), address="127.0.0.1", capture=Explicit())
READY = State(phase=Phase.READY)


class Asked:
    """An agent's status on a unix socket; `state` is what it stands in."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "agent.sock")
        self.state = READY
        self.quits = 0
        admin = Admin(str(folder / "admin.sock"))
        self.status = Status(WORKLOAD, admin=admin, state=lambda: self.state, quit=self._quit)

    def _quit(self) -> None:
        self.quits += 1

    async def ask(self, path: str, *, method: str = "GET") -> Reply:
        return await exchange(await asyncio.open_unix_connection(self.path), Question(method=method, path=path))

    async def send(self, raw: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self.path)
        writer.write(raw)
        try:
            return await asyncio.wait_for(reader.read(), 5)
        finally:
            writer.close()


@pytest.fixture
async def asked(tmp_path: Path) -> AsyncIterator[Asked]:
    found = Asked(tmp_path)
    async with web.server(found.status.pages()) as serving:
        await serving.listen_unix(found.path)
        yield found


FACTS = Facts(identity="spiffe://x/y", serial="1", expires=0.0, renewal=0.0)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (State(phase=Phase.STARTING), "Envoy is starting"),
        (State(phase=Phase.FAILING, reason="no such cluster"), "Envoy is failing: no such cluster"),
        (State(phase=Phase.STOPPING), "Envoy is stopping"),
        (State(phase=Phase.READY, application="waiting"), "the application is waiting"),
        (State(phase=Phase.READY, application="ended"), "the application is ended"),
        (
            State(phase=Phase.READY, certificate=FACTS, certificate_expired=True, certificate_problem="no Manager"),
            "the certificate has expired: no Manager",
        ),
    ],
)
async def test_not_ready_says_why(asked: Asked, state: State, reason: str) -> None:
    """503 and the reason as long as Envoy, application or certificate are not what calls need."""
    asked.state = state
    reply = await asked.ask("/healthz/ready")
    assert (reply.status, reply.text) == (503, f"{reason}\n")


@pytest.mark.parametrize("application", ["none", "running"])
async def test_ready(asked: Asked, application: str) -> None:
    """200 with Envoy configured and the application, if there is one, running."""
    asked.state = msgspec.structs.replace(READY, application=application)
    assert (await asked.ask("/healthz/ready")).status == 200


async def test_metrics_are_merged(asked: Asked, tmp_path: Path) -> None:
    """Envoy's and the application's metrics are one text; a source that fails becomes a comment."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\norders 3\n# EOF")
        writer.close()

    application = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with application:
        asked.status.watch((), Scrape(port=application.sockets[0].getsockname()[1]))
        first = await asked.ask("/stats/prometheus")
    assert first.status == 200
    assert first.text.startswith("# no metrics of Envoy:")
    assert first.text.endswith("orders 3\n")
    assert "# EOF" not in first.text
    asked.status.watch((), Scrape(port=1))
    assert "# no metrics of the application:" in (await asked.ask("/stats/prometheus")).text


async def test_ports_of_the_application_are_probed(asked: Asked) -> None:
    """Each port with whether somebody accepts there; the answer is kept for a moment."""
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    asked.status.watch((AppPort(80, "127.0.0.1", port), AppPort(90, "127.0.0.1", 1)), None)
    expected = {"ports": [{"port": 80, "accepting": True}, {"port": 90, "accepting": False}]}
    async with server:
        assert msgspec.json.decode((await asked.ask("/app-health")).body) == expected
    assert msgspec.json.decode((await asked.ask("/app-health")).body) == expected


async def test_state_and_quit(asked: Asked) -> None:
    """`/state` is all of it as JSON; a POST to `/quitquitquit` asks for the end, a GET does not."""
    asked.state = msgspec.structs.replace(READY, certificate=FACTS)
    told = msgspec.json.decode((await asked.ask("/state")).body)
    assert (told["workload"], told["ready"], told["certificate"]["serial"]) == ("a-1.default", True, "1")
    assert (await asked.ask("/quitquitquit")).status == 405
    assert asked.quits == 0
    assert (await asked.ask("/quitquitquit", method="POST")).status == 200
    assert asked.quits == 1


async def test_unknown_paths_list_the_known_ones(asked: Asked) -> None:
    """404 with what there is to ask; HEAD is answered without a body."""
    reply = await asked.ask("/")
    assert reply.status == 404
    assert "GET /healthz/ready" in reply.text
    assert (await asked.send(b"HEAD /healthz/ready HTTP/1.1\r\n\r\n")).endswith(b"\r\n\r\n")


async def test_what_is_not_http_harms_nobody(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too long a head is refused, silence is hung up on, half a request is nobody's failure; others are served."""
    monkeypatch.setattr(web, "READ_TIMEOUT", 0.05)
    assert b" 431 " in (await asked.send(b"GET / HTTP/1.1\r\nx: " + b"y" * web.HEAD_LIMIT * 2))[:20]
    assert await asked.send(b"") == b""
    assert b" 404 " in await asked.send(b"\xff\xfe\r\n\r\n")
    _, writer = await asyncio.open_unix_connection(asked.path)
    writer.write(b"GET /hea")
    writer.close()
    assert (await asked.ask("/healthz/ready")).status == 200
