"""Who may use the config API over HTTPS, what is noted of it, and what it takes of strangers."""

import asyncio
import base64
import hashlib
import json
import re
import resource
import socket
import ssl
import stat
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from core.errors import Misconfigured
from core.manager.api import patience
from core.manager.api.access import Caller, Role, TokenFile
from core.manager.api.audit import AuditLog, Entry
from core.manager.api.guard import Guard, Rate
from core.manager.api.questions import LARGEST_BODY
from istioctl.testing.kubectl import Mesh, running

pytestmark = pytest.mark.timeout(60)

PATH = "/apis/networking.istio.io/v1/namespaces/{}/virtualservices"
EVERYWHERE = "/apis/networking.istio.io/v1/virtualservices"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with running(tmp_path_factory.mktemp("mesh")) as mesh:
        yield mesh


def config(mesh: Mesh) -> tuple[str, ssl.SSLContext, str]:
    """Server, whom to trust, token."""
    found = json.loads(mesh.kubeconfig.read_text())
    cluster = found["clusters"][0]["cluster"]
    roots = base64.b64decode(cluster["certificate-authority-data"]).decode()
    return cluster["server"], ssl.create_default_context(cadata=roots), found["users"][0]["user"]["token"]


Client = Callable[[str], httpx.Client]


@pytest.fixture
def client(mesh: Mesh) -> Iterator[Client]:
    """With a token; "admin" is the one of the kubeconfig, "" none."""
    opened: list[httpx.Client] = []

    def build(token: str) -> httpx.Client:
        server, trust, admin = config(mesh)
        given = admin if token == "admin" else token
        headers = {"authorization": f"Bearer {given}"} if given else {}
        opened.append(httpx.Client(base_url=server, verify=trust, headers=headers))
        return opened[-1]

    yield build
    for each in opened:
        each.close()


def rule(name: str, namespace: str = "default") -> dict[str, Any]:
    spec = {"hosts": ["reviews"], "http": [{"route": [{"destination": {"host": "reviews"}}]}]}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata, "spec": spec}


@pytest.mark.parametrize("token", ["", "wrong", "Ünïcode"])
def test_nobody_is_let_in_without_a_token_of_the_mesh(token: str, mesh: Mesh) -> None:
    """401 as a Status, whatever is asked for but health."""
    server, trust, _ = config(mesh)
    headers = {b"authorization": b"Bearer " + token.encode()} if token else {}
    with httpx.Client(base_url=server, verify=trust, headers=headers) as http:
        for path in ("/apis", EVERYWHERE, "/v1/trust", "/nothing"):
            answer = http.get(path)
            assert (answer.status_code, answer.json()["reason"]) == (401, "Unauthorized")
        assert http.get("/healthz").status_code == 200


def test_the_certificate_is_the_meshs_and_names_the_address(mesh: Mesh) -> None:
    """A client that trusts others does not connect; one that trusts the kubeconfig's root does, by address."""
    server, trust, _ = config(mesh)
    with pytest.raises(httpx.ConnectError), httpx.Client(base_url=server) as http:
        http.get("/healthz")
    assert trust.check_hostname


def test_files_with_secrets_are_the_owners_alone(mesh: Mesh) -> None:
    """The kubeconfig and the tokens are 0600."""
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (mesh.kubeconfig, mesh.tokens, mesh.audit.parent)]
    assert modes == [0o600, 0o600, 0o700]


def add(mesh: Mesh, line: str) -> None:
    mesh.tokens.write_text(mesh.tokens.read_text() + line + "\n")


def test_a_viewer_reads_everything_and_writes_nothing(mesh: Mesh, client: Client) -> None:
    """Also no rehearsal, and no join token."""
    add(mesh, "view-token vera viewer")
    http = client("view-token")
    assert http.get(EVERYWHERE).status_code == 200
    assert http.get("/status").status_code == 200
    for answer in (
        http.post(PATH.format("default"), json=rule("x")),
        http.post(PATH.format("default") + "?dryRun=All", json=rule("x")),
        http.delete(PATH.format("default") + "/x"),
        http.post("/v1/tokens", json={"serviceAccount": "x"}),
    ):
        assert (answer.status_code, answer.json()["reason"]) == (403, "Forbidden")
        assert "vera" in answer.json()["message"]


@pytest.mark.parametrize(
    "path", [PATH.format("other"), EVERYWHERE, "/status", "/v1/trust", "/apis/a/b/namespaces/shop"]
)
def test_somebody_of_a_namespace_sees_nothing_else(path: str, mesh: Mesh, client: Client) -> None:
    """Neither another namespace nor all of them, nor anything about the whole mesh."""
    add(mesh, "shop-token sue namespace shop")
    assert client("shop-token").get(path).status_code == 403


def test_somebody_of_a_namespace_may_do_everything_there(mesh: Mesh, client: Client) -> None:
    """Discovery, writing, reading, deleting; the body cannot lead elsewhere."""
    add(mesh, "shop-token2 sam namespace shop")
    http = client("shop-token2")
    assert http.get("/apis/networking.istio.io/v1").status_code == 200
    assert http.post(PATH.format("shop"), json=rule("x", "shop")).status_code == 201
    assert http.post(PATH.format("shop"), json=rule("x", "other")).status_code == 400
    assert http.delete(PATH.format("shop") + "/x").status_code == 200


def test_tokens_change_without_a_restart(mesh: Mesh, client: Client) -> None:
    """A new line counts with the next request, and so does its absence; a hashed token works like a written one."""
    before = mesh.tokens.read_text()
    http = client("fresh")
    assert http.get("/apis").status_code == 401
    digest = hashlib.sha256(b"hidden").hexdigest()
    add(mesh, f"sha256:{digest} hilda viewer\nfresh fred viewer")
    assert http.get("/apis").status_code == 200
    assert client("hidden").get("/apis").status_code == 200
    mesh.tokens.write_text(before)
    assert http.get("/apis").status_code == 401


def test_what_was_written_is_noted(mesh: Mesh, client: Client) -> None:
    """Who, when, what, with which outcome, also when it was refused; reading is not, and tokens never are."""
    _, _, token = config(mesh)
    http = client("admin")
    http.post(PATH.format("audit"), json=rule("noted", "audit"))
    http.post(PATH.format("audit"), json=rule("noted", "audit"))
    http.get(PATH.format("audit"))
    client("").delete(PATH.format("audit") + "/noted")
    text = mesh.audit.read_text()
    noted = [json.loads(line) for line in text.splitlines() if "in audit" in line or "/audit/" in line]
    assert [(one["who"], one["verb"], one["outcome"]) for one in noted] == [
        ("local", "create", 201), ("local", "create", 409), ("", "delete", 401)]  # fmt: skip
    assert '"noted" in audit' in noted[0]["object"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", noted[0]["when"])
    assert token not in text


def test_the_author_of_a_change_is_in_the_history(mesh: Mesh, client: Client) -> None:
    """The store is told who it was."""
    client("admin").post(PATH.format("history"), json=rule("mine", "history"))
    told = client("admin").get(PATH.format("history") + "/mine/history").json()
    assert [one["author"] for one in told["revisions"]] == ["local"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b" " * (LARGEST_BODY + 1), 413),
        (b"[" * 1_000_000, 422),
        (b'{"spec":' * 200_000, 400),
        (json.dumps({**rule("x"), "spec": {"hosts": ["a" * 1_100_000]}}).encode(), 422),
        (b'{"apiVersion": "networking.istio.io/v1", "kind": "\xff"}', 400),
    ],
)
def test_monstrous_documents_are_refused(content: bytes, code: int, client: Client) -> None:
    """Too large, too deep, or no text: refused, and the server serves on."""
    http = client("admin")
    answer = http.post(PATH.format("default"), content=content, headers={"content-type": "application/json"})
    assert answer.status_code == code
    assert http.get("/healthz").status_code == 200


def test_whoever_dawdles_is_cut_off(mesh: Mesh, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow loris: a head that comes byte by byte ends its connection, first or later; others are served meanwhile."""
    monkeypatch.setattr(patience, "PATIENCE", 0.5)
    server, trust, _ = config(mesh)
    host, port = server.removeprefix("https://").split(":")
    with socket.create_connection((host, int(port))) as raw, trust.wrap_socket(raw, server_hostname=host) as slow:
        slow.settimeout(5)
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" in slow.recv(1000)
        began = time.monotonic()
        closed = False
        while not closed and time.monotonic() - began < 4:
            try:
                slow.sendall(b"G")
                slow.settimeout(0.1)
                closed = slow.recv(10) == b""
            except TimeoutError:
                continue
            except OSError:
                closed = True
        assert closed
        assert 0.4 < time.monotonic() - began < 3
    assert client("admin").get("/healthz").status_code == 200


def test_watches_do_not_hold_up_the_end(tmp_path: Path) -> None:
    """A Manager with open watches ends at once."""
    with running(tmp_path) as mesh:
        server, trust, token = config(mesh)
        http = httpx.Client(base_url=server, verify=trust, headers={"authorization": f"Bearer {token}"})
        with http, http.stream("GET", EVERYWHERE, params={"watch": "true"}) as watch:
            assert watch.status_code == 200
            began = time.monotonic()
            stopping = threading.Thread(target=mesh.stop)
            stopping.start()
            assert list(watch.iter_lines()) == []
            stopping.join()
            assert time.monotonic() - began < 1.5


def test_the_port_and_the_kubeconfig_survive_a_restart(tmp_path: Path) -> None:
    """A kubeconfig that somebody has goes on to work."""
    with running(tmp_path) as mesh:
        first = config(mesh)
    with running(tmp_path) as mesh:
        second = config(mesh)
    assert (first[0], first[2]) == (second[0], second[2])


async def _asked(guard: Guard) -> int:
    transport = httpx.ASGITransport(guard)
    async with httpx.AsyncClient(transport=transport, base_url="http://m") as http:
        return (await http.get("/apis")).status_code


async def test_too_many_requests_are_told_to_wait(tmp_path: Path) -> None:
    """429 beyond the burst, and again 200 when the bucket has filled."""
    from starlette.responses import Response

    now = [0.0]
    tokens = TokenFile.made(tmp_path)
    caller = tokens.caller(tokens.admin_token())
    guard = Guard(
        Response("ok"), lambda headers: caller, audit=AuditLog(tmp_path), rate=Rate(1.0, 2.0), clock=lambda: now[0]
    )
    assert [await _asked(guard) for _ in range(3)] == [200, 200, 429]
    now[0] = 1.5
    assert await _asked(guard) == 200


async def test_one_caller_does_not_take_all_watches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than there may be is refused with 429, until one of them ends; others are not concerned."""
    from starlette.responses import StreamingResponse

    monkeypatch.setattr("core.manager.api.guard.MOST_WATCHES", 2)
    end = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def lines() -> AsyncIterator[bytes]:
            yield b"begun"
            await end.wait()

        await StreamingResponse(lines())(scope, receive, send)

    guard = Guard(app, lambda headers: Caller(headers["who"], Role.VIEWER), audit=AuditLog(tmp_path))

    async def watched(who: str) -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url="http://m") as http:
            return (await http.get("/apis?watch=true", headers={"who": who})).status_code

    open_ones = [asyncio.create_task(watched("a")) for _ in range(2)]
    await asyncio.sleep(0)
    while not (await asyncio.wait({refused := asyncio.create_task(watched("a"))}, timeout=0.05))[0]:
        open_ones.append(refused)
    assert refused.result() == 429
    assert len(open_ones) == 2
    other = asyncio.create_task(watched("b"))
    end.set()
    assert [await each for each in (*open_ones, other)] == [200, 200, 200]
    assert await watched("a") == 200


async def test_a_request_that_the_end_of_the_manager_cuts_off_is_answered(tmp_path: Path) -> None:
    """503 with what it means for the client; the server's own word for it would be no object."""
    begun, sent = asyncio.Event(), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    guard = Guard(app, lambda headers: Caller("a", Role.ADMIN), audit=AuditLog(tmp_path))
    scope = {"type": "http", "method": "POST", "path": "/v1/transactions", "query_string": b"", "headers": []}
    asking = asyncio.create_task(guard(scope, receive, send))
    await begun.wait()
    asking.cancel()
    await asking
    assert sent[0]["status"] == 503
    assert "may be done or not" in json.loads(sent[1]["body"])["message"]


def test_a_token_file_says_what_is_wrong_with_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A bad line lets nobody in and is logged by number, without what it says; a missing file lets nobody in."""
    tokens = TokenFile.made(tmp_path)
    path = tmp_path / "tokens"
    path.write_text("secret1 a admin\nsecret2 b king\nsecret3 c namespace\n")
    found = tokens.caller("secret1")
    assert found is not None
    assert found.role is Role.ADMIN
    assert (tokens.caller("secret2"), tokens.caller("secret3"), tokens.caller("")) == (None, None, None)
    assert "tokens:2" in caplog.text
    assert "secret" not in caplog.text
    path.unlink()
    assert tokens.caller("secret1") is None


def test_a_token_file_of_others_is_refused(tmp_path: Path) -> None:
    """Secrets that others can read are none."""
    TokenFile.made(tmp_path)
    (tmp_path / "tokens").chmod(0o644)
    with pytest.raises(Misconfigured, match="others"):
        TokenFile.made(tmp_path)


def test_the_audit_log_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full file becomes the one before, and whole lines stay whole."""
    monkeypatch.setattr("core.manager.api.audit.LARGEST", 1000)
    log = AuditLog(tmp_path)
    for i in range(40):
        log.note(Entry(who="a", verb="create", object=f"o{i}", outcome=201))
    files = list(tmp_path.iterdir())
    assert len(files) == 2
    assert all(json.loads(line)["who"] == "a" for file in files for line in file.read_text().splitlines())


def test_the_audit_log_has_whole_lines_only(tmp_path: Path) -> None:
    """What has no room is an error, and leaves nothing behind that would spoil the next line."""
    log, path = AuditLog(tmp_path), tmp_path / "audit.jsonl"
    log.note(Entry(who="a", verb="create", object="o", outcome=201))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, limits[1]))
    try:
        with pytest.raises(OSError, match="No space left"):
            log.note(Entry(who="b", verb="create", object="o", outcome=201))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    log.note(Entry(who="c", verb="create", object="o", outcome=201))
    assert [json.loads(line)["who"] for line in path.read_text().splitlines()] == ["a", "c"]
