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
from core.manager.api.guard import Guard, Rate
from core.manager.api.server import bound, serve_https, shared
from core.manager.ca.doors import address
from core.manager.ca.own import OwnCertificate, server_context
from core.manager.ca.private import directory
from core.manager.paths import api_directory, identity_directory
from core.manager.paths import kubeconfig as kubeconfig_path
from core.manager.settings import Settings

_PORT: Final = "port"
"""Name of the file with the last port: after a restart it is tried first, so that a kubeconfig stays good."""


_OWNER: Final = Rate(steady=5_000.0, burst=30_000.0)
"""Whose machine it is, may use it up. It is a limit all the same: a loop gone wild must not starve the proxies."""


def reserved(host: str, state: Path) -> socket.socket:
    """A port for the config API of several Managers, the last one if it is free: theirs while this socket is open.

    It accepts nothing. Only processes of the same user can join it (socket(7), SO_REUSEPORT). Raises `Misconfigured`.
    """
    memory = directory(api_directory(state)) / _PORT
    with contextlib.suppress(OSError, ValueError, Misconfigured), bound(host, int(memory.read_text())) as free:
        port = int(free.getsockname()[1])
        free.close()
        return shared(host, port)
    listener = shared(host, 0)
    with contextlib.suppress(OSError):
        memory.write_text(str(listener.getsockname()[1]))
    return listener


@contextlib.asynccontextmanager
async def opened(app: ASGIApp, settings: Settings, *, own: OwnCertificate) -> AsyncIterator[str]:
    """Serves at `settings.api_listen` while the context is open, and gives the URL. Raises `Misconfigured`."""
    state, folder = settings.state, directory(api_directory(settings.state))
    tokens = TokenFile.made(folder)
    host, port = address(settings.api_listen)
    listener = shared(host, port) if settings.managers > 1 else _bound(host, port, folder / _PORT)
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
    return Guard(app, lambda headers: owner, audit=AuditLog(directory(api_directory(state))), rate=_OWNER)


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
