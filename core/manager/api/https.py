"""The config API for kubectl: HTTPS with a certificate of this mesh's, tokens, and the kubeconfig that says where."""

import contextlib
import os
import pwd
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp

from core.errors import Misconfigured
from core.manager.api import kubeconfig
from core.manager.api.access import Caller, Role, TokenFile
from core.manager.api.audit import AuditLog
from core.manager.api.guard import Guard
from core.manager.api.server import bound, serve_https
from core.manager.ca.doors import address
from core.manager.ca.own import OwnCertificate, server_context
from core.manager.ca.private import directory
from core.manager.paths import api_directory, identity_directory
from core.manager.paths import kubeconfig as kubeconfig_path

_PORT: Final = "port"
"""Name of the file with the last port: after a restart it is tried first, so that a kubeconfig stays good."""


@contextlib.asynccontextmanager
async def opened(app: ASGIApp, listen: str, *, state: Path, own: OwnCertificate) -> AsyncIterator[str]:
    """Serves while the context is open, and gives the URL. `listen` is host:port. Raises `Misconfigured`."""
    folder = directory(api_directory(state))
    tokens = TokenFile.made(folder)
    host, port = address(listen)
    listener = _bound(host, port, folder / _PORT)
    url = _url(host, listener.getsockname()[1])
    guard = Guard(app, lambda headers: bearer(headers, tokens), audit=AuditLog(folder))
    context = server_context(own, directory(identity_directory(state)))
    async with serve_https(guard, listener, context):
        content = kubeconfig.text(url, roots=own.roots, token=tokens.admin_token())
        kubeconfig.put(kubeconfig_path(state), content)
        yield url


def for_owner(app: ASGIApp, state: Path) -> ASGIApp:
    """For the unix socket: whoever can open it is the user whose Manager this is, and is noted like everybody else."""
    owner = Caller(_user(), Role.ADMIN)
    return Guard(app, lambda headers: owner, audit=AuditLog(directory(api_directory(state))))


def bearer(headers: Headers, tokens: TokenFile) -> Caller | None:
    """Whose token is in the `Authorization` header (RFC 6750 §2.1)."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return tokens.caller(token.strip()) if scheme.lower() == "bearer" else None


def _user() -> str:
    """A container's user need not be in its list of users."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _bound(host: str, port: int, memory: Path) -> socket.socket:
    if port == 0:
        with contextlib.suppress(OSError, ValueError, Misconfigured):
            return bound(host, int(memory.read_text()))
    listener = bound(host, port)
    with contextlib.suppress(OSError):
        memory.write_text(str(listener.getsockname()[1]))
    return listener


def _url(host: str, port: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"https://{reachable}:{port}"
