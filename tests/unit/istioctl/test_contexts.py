"""Kubeconfigs as istioctl reads them: several files, relative paths, client certificates, and what it does not do."""

import base64
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

from core.errors import MeshError, Unavailable
from istioctl.client import Api
from istioctl.contexts import choose
from istioctl.options import Where
from istioctl.testing.certificates import Pair, made

Run = Callable[..., Result]


def config(*contexts: str, current: str = "", **user: object) -> dict[str, Any]:
    """Each context with a cluster of its name, and the one user."""
    return {
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}.example:1/base"}} for name in contexts],
        "users": [{"name": "me", "user": user}],
        "contexts": [
            {"name": name, "context": {"cluster": name, "user": "me", "namespace": name}} for name in contexts
        ],
        "current-context": current,
        "preferences": {},
    }


def written(path: Path, content: object) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_first_of_several_files_counts(tmp_path: Path) -> None:
    """For each name, and for the current context, as for kubectl."""
    first = written(tmp_path / "1", config("a", token="first"))
    second = written(tmp_path / "2", config("a", "b", current="b", token="second"))
    found = choose((first, second), "")
    assert (found.name, found.context.namespace, found.file) == ("b", "b", second)
    assert choose((first, second), "a").file == first
    assert found.way().headers == {"Authorization": "Bearer first"}
    assert (found.way().prefix, str(found.way())) == ("/base", "https://b.example:1/base (context b)")


def test_paths_are_relative_to_their_file(tmp_path: Path) -> None:
    """A token beside the kubeconfig, wherever istioctl is run."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "token").write_text("secret\n")
    path = written(tmp_path / "config", config("a", tokenFile="keys/token"))
    assert choose((path,), "a").way().headers == {"Authorization": "Bearer secret"}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c: c["clusters"][0]["cluster"].update({"proxy-url": "http://x"}), "does not know proxy-url"),
        (lambda c: c["clusters"][0]["cluster"].update(server="http://x"), "is no https:// address"),
        (lambda c: c["clusters"][0]["cluster"].update({"certificate-authority-data": "%"}), "base64"),
        (lambda c: c["clusters"][0]["cluster"].update({"certificate-authority-data": "aGk="}), "no certificate"),
        (lambda c: c["clusters"][0]["cluster"].update({"certificate-authority": "gone.pem"}), "cannot read gone.pem"),
        (lambda c: c["users"][0]["user"].update(username="me", password="x"), "by a program or a password"),
        (lambda c: c["users"][0]["user"].update({"client-certificate-data": "aGk="}), "are no pair"),
        (lambda c: c.update(users=None), 'the user of context a is "me"'),
        (lambda c: c.update(contexts=5), "is no kubeconfig"),
        (lambda c: c["contexts"][0].update(name="b"), 'there is no context "a"'),
    ],
)
def test_what_cannot_be_used_is_named(change: Callable[[dict[str, Any]], None], text: str, tmp_path: Path) -> None:
    """A `MeshError` with a fix, before anything is sent."""
    content = config("a")
    change(content)
    with pytest.raises(MeshError, match=text) as caught:
        choose((written(tmp_path / "config", content),), "a").way()
    assert caught.value.fix


def test_a_context_may_be_missing_altogether(tmp_path: Path) -> None:
    """No file, no current context: each says what to do."""
    with pytest.raises(MeshError, match="cannot read"):
        choose((tmp_path / "none",), "")
    with pytest.raises(MeshError, match="says of no context that it is the current one"):
        choose((written(tmp_path / "config", config("a")),), "")


@pytest.fixture
def own_server() -> Iterator[tuple[HTTPServer, Pair]]:
    """HTTPS for whoever has its own certificate."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert isinstance(self.connection, ssl.SSLSocket)
            subject = dict(pair[0] for pair in self.connection.getpeercert()["subject"])  # type: ignore[index,misc]
            body = b'{"gitVersion": "%s"}' % subject["commonName"].encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    pair = made("localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=pair.certificate.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    yield from served(Handler, context, pair)


def served(
    handler: type[BaseHTTPRequestHandler], context: ssl.SSLContext, pair: Pair
) -> Iterator[tuple[HTTPServer, Pair]]:
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(pair.certificate + pair.key)
        file.flush()
        context.load_cert_chain(file.name)
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server, pair
        server.shutdown()
        thread.join()


def test_a_client_certificate_is_presented(own_server: tuple[HTTPServer, Pair], tmp_path: Path) -> None:
    """From the file itself, or from files beside it; nothing of it is left elsewhere."""
    server, pair = own_server
    content = config("a")
    authority = base64.b64encode(pair.certificate).decode()
    content["clusters"][0]["cluster"] = {
        "server": f"https://localhost:{server.server_port}",
        "certificate-authority-data": authority,
    }
    (tmp_path / "key.pem").write_bytes(pair.key)
    content["users"][0]["user"] = {"client-certificate-data": authority, "client-key": "key.pem"}
    way = choose((written(tmp_path / "config", content),), "a").way()
    with Api(way) as api:
        assert api.release().git_version == "localhost"
    del content["users"][0]["user"]
    with Api(choose((written(tmp_path / "config", content),), "a").way()) as api, pytest.raises(Unavailable):
        api.release()


def test_the_namespace_is_the_contexts_unless_another_is_named(tmp_path: Path) -> None:
    """As for kubectl."""
    path = written(tmp_path / "config", config("a"))
    where = Where(kubeconfig=path, context="a")
    assert (where.namespace_for(), where.namespace_for("root")) == ("a", "root")
    assert Where(kubeconfig=path, context="a", namespace="b").namespace_for() == "b"


def test_contexts_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the files that would be looked in; of a file that cannot be read, none."""
    import click
    from click.shell_completion import ShellComplete

    from istioctl.cli import app

    def offered(*words: str) -> list[str]:
        completing = ShellComplete(app, {}, "istioctl", "_ISTIOCTL_COMPLETE")
        return [item.value for item in completing.get_completions([*words, "--context"], "")]

    monkeypatch.setenv("KUBECONFIG", str(written(tmp_path / "config", config("a", "b"))))
    assert isinstance(app, click.Group)
    assert offered("get") == ["a", "b"]
    assert offered("--kubeconfig", str(written(tmp_path / "other", config("c"))), "get") == ["c"]
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert offered("get") == []
