"""`istioctl up` as a user runs it: a process of its own, driven by signals, files, commands and calls. For tests."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self, TypeVar

import msgspec

from proxy import launch
from proxy.testing.processes import alive

T = TypeVar("T")

_MARK = "PISTIO_TEST_RUN"
"""An environment variable, inherited by everything that the mesh starts: how descendants are found."""

_PROXY_PORT = 15007


_APPLICATION = """\
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        text = os.environ["SAYS"].encode()
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


Server((os.environ["APP_IP"], int(os.environ["PORT"])), Handler).serve_forever()
"""


class MeshFile:
    """A small mesh on file, to be edited while it runs: a caller, and a service whose two versions say who they are."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "mesh.yaml"
        (folder / "app.py").write_text(_APPLICATION)
        self.write()

    def write(self, more: str = "") -> None:
        """As an editor saves it: a new file in the place of the old one. `more` goes to the end of the services."""
        new = self.path.with_suffix(".new")
        new.write_text(self.text() + more)
        new.replace(self.path)

    def text(self) -> str:
        return f"""\
services:
  client:
    workloads:
      v1: {{command: [sleep, "1000"]}}
  web:
    ports: [80/http]
    workloads:
      v1: {self.runs("one")}
      v2: {self.runs("two")}
"""

    def runs(self, says: str) -> str:
        return f'{{command: ["{sys.executable}", app.py], env: {{SAYS: {says}}}}}'


class Answer(msgspec.Struct, frozen=True):
    """What a call came to. Status 0: no answer at all."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = {}


class Up:
    """A running `istioctl up`. A context manager: leaving it kills what is left, also after a failed test."""

    def __init__(
        self,
        mesh_file: Path | None,
        *,
        state: Path,
        arguments: tuple[str, ...] = (),
        within: tuple[str, ...] = (),
        **environment: str,
    ) -> None:
        """Without a mesh file, `arguments` begin with the command: another one that runs a mesh.

        `within`: the words that run it where it is to be, and become it (`unshare …`).
        """
        self.state = state
        self._mark = uuid.uuid4().hex
        self._lines: list[str] = []
        run = ("up", str(mesh_file)) if mesh_file else ()
        # It dies with the tests, however they end.
        tied = (sys.executable, launch.__file__, str(os.getpid()), "")
        self.process = subprocess.Popen(
            [*tied, *within, *_istioctl(state), *run, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environment, _MARK: self._mark, "NO_COLOR": "1"},
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.append(line.rstrip("\n"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()

    # -- what it says --------------------------------------------------------------------------------------------------

    @property
    def said(self) -> str:
        """Everything it printed so far."""
        return "\n".join(self._lines)

    def hears(self, *parts: str, within: float = 15.0, after: int = 0) -> str:
        """The first line, from number `after` on, that holds all `parts`. Raises AssertionError after `within` s."""

        def found() -> str | None:
            return next((line for line in self._lines[after:] if all(part in line for part in parts)), None)

        return eventually(found, within=within, what=lambda: f"a line with {parts} in:\n{self.said}")

    @property
    def spoken(self) -> int:
        """How many lines it printed so far."""
        return len(self._lines)

    def ready(self, *, within: float = 30.0) -> Self:
        """Waits until all workloads are ready."""
        self.hears("workloads ready after", within=within)
        return self

    def ended(self, *, within: float) -> int:
        """Its exit code. Raises `subprocess.TimeoutExpired`."""
        code = self.process.wait(within)
        self._reader.join(5)
        return code

    def address(self, workload: str) -> str:
        """The address of a workload of namespace `default`, as it was announced."""
        return self.hears(f"{workload}.default ", "ready at").rpartition(" ")[2]

    # -- its processes -------------------------------------------------------------------------------------------------

    def pids(self, *words: str) -> list[int]:
        """Its living descendants, whoever their parent is by now, whose command line holds all `words`."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != self.process.pid and self._is_ours(entry):
                line = _read(entry / "cmdline").replace(b"\0", b" ").decode(errors="replace")
                if all(word in line for word in words) and alive(int(entry.name)):
                    found.append(int(entry.name))
        return found

    def _is_ours(self, entry: Path) -> bool:
        return f"{_MARK}={self._mark}".encode() in _read(entry / "environ").split(b"\0")

    def pid(self, *words: str) -> int:
        """The one descendant with these words in its command line, once there is exactly one."""

        def one() -> int | None:
            found = self.pids(*words)
            return found[0] if len(found) == 1 else None

        return eventually(one, within=10, what=lambda: f"one process with {words}; there are {self.pids(*words)}")

    # -- its rules and traffic -----------------------------------------------------------------------------------------

    def istioctl(self, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Another istioctl beside it."""
        return istioctl(*arguments, stdin=stdin, state=self.state)

    def call(self, workload: str, url: str, **headers: str) -> Answer:
        """A GET by the application of `workload`, through its sidecar's HTTP proxy."""
        return call(self.address(workload), url, **headers)


def inside(application: int, *words: str) -> str:
    """What a program prints that is run in the pod of this process."""
    flags = ("--user", "--net", "--mount", "--preserve-credentials")
    command = ["nsenter", "--target", str(application), *flags, "--", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout


def istioctl(*arguments: str, stdin: str = "", state: Path) -> "subprocess.CompletedProcess[str]":
    """Runs istioctl to its end."""
    return subprocess.run(
        [*_istioctl(state), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "NO_COLOR": "1"},
    )


def _istioctl(state: Path) -> list[str]:
    return [
        sys.executable,
        "-c",
        "import sys; from istioctl.entry import main; sys.exit(main())",
        "--state-dir",
        str(state),
    ]


def call(address: str, url: str, **headers: str) -> Answer:
    """A GET of `url` through the HTTP proxy at `address`."""
    host = url.removeprefix("http://").partition("/")[0]
    connection = http.client.HTTPConnection(address, _PROXY_PORT, timeout=5)
    try:
        connection.request("GET", url, headers={"host": host, **headers})
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, response.read().decode(errors="replace"), found)
    except (OSError, http.client.HTTPException):
        return Answer(0)
    finally:
        connection.close()


def eventually(check: Callable[[], T | None], *, within: float, what: Callable[[], str] = lambda: "") -> T:
    """The first result of `check` that is true. Raises AssertionError after `within` seconds."""
    deadline = time.monotonic() + within
    while not (found := check()):
        assert time.monotonic() < deadline, f"not within {within:g} s: {what()}"
        time.sleep(0.01)
    return found


def listening(address: str, port: int) -> socket.socket:
    """Somebody else's listener, in the way of the mesh."""
    taken = socket.socket()
    taken.bind((address, port))
    taken.listen()
    return taken


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
