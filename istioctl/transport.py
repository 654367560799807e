"""Ways to a Manager: its unix socket on this machine, or HTTPS. What is asked there is none of its business."""

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from core.errors import Denied, MeshError, Unavailable


class Way(Protocol):
    """One way to one Manager; as text it is what people know it by."""

    @property
    def headers(self) -> Mapping[str, str]:
        """What every request has to carry."""
        ...

    @property
    def prefix(self) -> str:
        """What stands before every path, "" for nothing."""
        ...

    def connection(self, timeout: float) -> HTTPConnection:
        """Not yet open. `timeout` in seconds."""
        ...

    def unreachable(self, error: Exception) -> MeshError:
        """What `error`, an `OSError` or `HTTPException`, means for people, and what they can do."""
        ...

    def refused(self, code: int, message: str) -> MeshError | None:
        """What the answer `code` (HTTP) means where it is about who is asking; None where it is not."""
        ...


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass(frozen=True)
class UnixSocket:
    """A Manager of this machine; its socket lets in whoever may open it."""

    path: Path
    headers: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""

    def __str__(self) -> str:
        return str(self.path)

    def connection(self, timeout: float) -> HTTPConnection:
        return _UnixConnection(self.path, timeout)

    def unreachable(self, error: Exception) -> MeshError:
        match error:
            case FileNotFoundError() | NotADirectoryError() | ConnectionRefusedError():
                fix = (
                    "start a mesh with: istioctl up mesh.yaml "
                    "(or name another one with --state-dir, --kubeconfig or --context)"
                )
                return Unavailable(f"no Manager is running: nothing answers at {self}", fix=fix)
            case PermissionError():
                return Denied(f"{self} belongs to another user", fix="run istioctl as the user who started the mesh")
            case TimeoutError():
                fix = "try again: istioctl up ends a Manager that says nothing for 20 s, and starts it anew"
                return Unavailable(f"the Manager at {self} did not answer in time", fix=fix)
        fix = "try again: what it has written already is not written twice (istioctl up says what happened)"
        return Unavailable(f"the Manager at {self} broke off: {error}", fix=fix)

    def refused(self, code: int, message: str) -> MeshError | None:
        return None


@dataclass(frozen=True)
class Https:
    """A config API somewhere. `server` is its URL; `context` and `file` are where it is described."""

    server: str
    trust: ssl.SSLContext
    context: str
    file: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.server} (context {self.context})"

    @property
    def prefix(self) -> str:
        return urlsplit(self.server).path.rstrip("/")

    def connection(self, timeout: float) -> HTTPConnection:
        where = urlsplit(self.server)
        return HTTPSConnection(where.hostname or "", where.port, timeout=timeout, context=self.trust)

    def unreachable(self, error: Exception) -> MeshError:
        match error:
            case ssl.SSLCertVerificationError():
                fix = "get a new kubeconfig from who runs the mesh: its root is another after a start without --keep"
                return Denied(f"{self} is not who {self.file} says: {error.verify_message}", fix=fix)
            case ConnectionRefusedError() | socket.gaierror():
                fix = f"is the mesh running? Its address is in {self.file}, and may be another after a restart"
                return Unavailable(f"nothing answers at {self}: {error.strerror}", fix=fix)
            case TimeoutError():
                return Unavailable(
                    f"{self} did not answer in time", fix="try again; is the address reachable from here?"
                )
        fix = "try again: what it has written already is not written twice"
        return Unavailable(f"{self} broke off: {error}", fix=fix)

    def refused(self, code: int, message: str) -> MeshError | None:
        if code == 401:
            fix = f"{self.file} has none, or an old one: get a token from who runs the mesh"
            return Denied(f"{self} does not know the token of this context", fix=fix)
        if code == 403:
            fix = "ask who runs the mesh for a token with another role, or name your namespace with -n"
            return Denied(message.removeprefix("forbidden: "), fix=fix)
        return None
