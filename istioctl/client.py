"""A thin HTTP client for the config API on its unix socket. Knows the wire form, and no rules."""

import socket
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec

from core.errors import Conflict, Denied, MeshError, NotFound, Unavailable
from core.kinds.kind import Kind
from core.manager.api import SOCKET
from core.manager.api.failures import Cause, Status
from core.manager.api.histories import History
from core.manager.api.objects import Resource, ResourceList
from core.manager.api.tokens import Made, Wanted
from core.manager.api.transactions import PATH as TRANSACTIONS
from core.manager.api.transactions import Order, Outcome, Outcomes, Transaction
from core.manager.status import MeshStatus

PATIENCE = 10.0
"""Seconds to wait for an answer; the Manager is on this machine."""

T = TypeVar("T")


class Refused(MeshError):
    """The Manager understood the request and will not do it; `causes` say which fields are wrong."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.message)
        self.causes: tuple[Cause, ...] = status.details.causes


class Release(msgspec.Struct, frozen=True, rename="camel"):
    git_version: str


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Api:
    """One Manager, over one connection. Methods raise `Unavailable` when none answers, and `Refused` when it will not.

    A context manager: leaving it closes the connection.
    """

    def __init__(self, state_dir: Path, *, timeout: float = PATIENCE) -> None:
        self.socket = state_dir / SOCKET
        self._connection = _UnixConnection(self.socket, timeout)

    def __enter__(self) -> "Api":
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()

    def release(self) -> Release:
        return self._ask("GET", "/version", Release)

    def status(self) -> MeshStatus:
        """Who is connected, and how far each has come."""
        return self._ask("GET", "/status", MeshStatus)

    def find(self, kind: Kind, namespace: str, name: str) -> Resource | None:
        """None when there is no such object."""
        try:
            return self._ask("GET", _path(kind, namespace, name), Resource)
        except NotFound:
            return None

    def history(self, kind: Kind, namespace: str, name: str) -> History:
        """Raises `NotFound` when there is no such object, and none is remembered."""
        return self._ask("GET", _path(kind, namespace, name) + "/history", History)

    def list(self, kind: Kind, namespace: str = "") -> tuple[Resource, ...]:
        """Objects in key order; namespace "" is all of them."""
        return self._ask("GET", _path(kind, namespace), ResourceList).items

    def create(self, kind: Kind, resource: Resource, *, query: str = "") -> Resource:
        """Raises `Conflict` when it exists already."""
        return self._ask("POST", _path(kind, resource.metadata.namespace) + query, Resource, body=resource)

    def replace(self, kind: Kind, resource: Resource, *, query: str = "") -> Resource:
        """Raises `Conflict` when the stored object is not the one whose resource version is given."""
        path = _path(kind, resource.metadata.namespace, resource.metadata.name)
        return self._ask("PUT", path + query, Resource, body=resource)

    def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """Raises `NotFound`."""
        self._ask("DELETE", _path(kind, namespace, name), Status)

    def commit(self, orders: tuple[Order, ...]) -> tuple[Outcome, ...]:
        """All or none. Raises `Conflict` when a version is not the stored one, `NotFound` for removing nothing."""
        return self._ask("POST", TRANSACTIONS, Outcomes, body=Transaction(orders)).outcomes

    def create_token(self, wanted: Wanted) -> Made:
        """Raises `NotFound` when there is no such workload."""
        return self._ask("POST", "/v1/tokens", Made, body=wanted)

    def _ask(self, method: str, path: str, answer: type[T], *, body: object = None) -> T:
        code, content = self._exchange(method, path, msgspec.json.encode(body) if body else None)
        try:
            if code < 400:
                return msgspec.json.decode(content, type=answer)
            status = msgspec.json.decode(content, type=Status)
        except msgspec.DecodeError as error:
            raise MeshError(f"{self.socket} answered {method} {path} with something else: {error}") from error
        raise _failure(status)

    def _exchange(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        """Once more on a new connection when the Manager has closed an idle one: every verb here may be repeated."""
        used = self._connection.sock is not None
        try:
            return self._send(method, path, body)
        except (OSError, HTTPException) as error:
            self._connection.close()
            if used and isinstance(error, ConnectionError):
                return self._exchange(method, path, body)
            raise _unreachable(self.socket, error) from error

    def _send(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        self._connection.request(method, path, body, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        return response.status, response.read()


DRY_RUN = "?" + urlencode({"dryRun": "All"})


def _path(kind: Kind, namespace: str = "", name: str = "") -> str:
    parts = ["apis", kind.group, kind.versions[0]]
    parts += ["namespaces", namespace] if namespace else []
    parts += [kind.plural, name] if name else [kind.plural]
    return "/" + "/".join(quote(part, safe="") for part in parts)


def _failure(status: Status) -> MeshError:
    match status.code:
        case 404:
            return NotFound(status.message)
        case 409:
            return Conflict(status.message)
        case 503:
            return Unavailable(status.message)
    return Refused(status)


def _unreachable(path: Path, error: Exception) -> MeshError:
    match error:
        case FileNotFoundError() | NotADirectoryError() | ConnectionRefusedError():
            fix = "start a mesh with: istioctl up mesh.yaml (or name another one with --state-dir)"
            return Unavailable(f"no Manager is running: nothing answers at {path}", fix=fix)
        case PermissionError():
            return Denied(f"{path} belongs to another user", fix="run istioctl as the user who started the mesh")
        case TimeoutError():
            return Unavailable(
                f"the Manager at {path} did not answer in time",
                fix=f"try again; then: pkill -KILL -f '[c]ore.manager .*{path.parent}', and istioctl up starts it anew",
            )
    return Unavailable(f"the Manager at {path} broke off: {error}", fix="look at what istioctl up printed")
