"""The command line, called in this process with nothing of the user's environment in it."""

import json
import shlex
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer

import click
import pytest
from click.testing import CliRunner, Result

from core.manager.paths import xds_socket
from core.model.service import WorkloadKey
from istioctl.cli import COMMANDS, app

Run = Callable[..., Result]


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one, which the environment names."""
    for name in ("NO_COLOR", "FORCE_COLOR", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ISTIO_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    return tmp_path / "state"


@pytest.fixture
def parse() -> Callable[[str], str]:
    """Parses a command line as far as words and options go, runs nothing, and returns the command's full name."""

    def parsed(line: str) -> str:
        root = click.Context(app, **app.context_settings)
        _, (name, *rest), _ = app.make_parser(root).parse_args(shlex.split(line))
        command = app.get_command(root, name)
        assert command
        command.make_parser(click.Context(command, parent=root)).parse_args(rest)
        return next(entry.name for entry in COMMANDS if name in (entry.name, entry.alias))

    return parsed


@pytest.fixture
def istioctl(state_dir: Path) -> Run:
    def run(*args: str, stdin: str | bytes = "") -> Result:
        return CliRunner().invoke(app, args, input=stdin, prog_name="istioctl", catch_exceptions=False)

    return run


@contextmanager
def running_proxy(state: Path, workload: str, answers: dict[str, str]) -> Iterator[list[str]]:
    """The directory of a sidecar, and an admin interface in it; yields the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(self.path)
            body = answers[self.path].encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return "unix"

        def log_message(self, format: str, *args: object) -> None:
            pass

    name, _, namespace = workload.rpartition(".")
    directory = state / "proxies" / xds_socket(state, WorkloadKey(namespace, name)).name
    directory.mkdir(parents=True)
    node = {"id": f"sidecar~10.0.0.1~{workload}~{namespace}.svc.cluster.local"}
    (directory / "envoy.json").write_text(json.dumps({"node": node}))
    with ThreadingUnixStreamServer(str(directory / "admin.sock"), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield asked
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def admin() -> Callable[[Path, str, dict[str, str]], AbstractContextManager[list[str]]]:
    """A running proxy: state directory, `name.namespace`, and what its Envoy answers to which path."""
    return running_proxy
