"""Who may use the config API over the network: a file of tokens, each with a name and a role. Changes count at once.

Not for the unix socket: who can open that is its owner.
"""

import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from core.errors import Misconfigured
from core.manager.ca.private import directory, kept

TOKENS: Final = "tokens"
"""Name of the file in the API's directory."""

_HASHED: Final = re.compile(r"sha256:([0-9a-f]{64})")
_UNTIL: Final = "until="
_TEMPLATE: Final = """\
# Who may use the config API: TOKEN NAME ROLE [NAMESPACE] [until=TIME], one a line. Changes are in force with the next
# request; istioctl kubeconfig makes them, too. TIME is like 2026-01-31T12:00:00Z.
# Roles: admin (everything), viewer (reads everything), namespace (reads and writes one NAMESPACE).
# A token may also be written as sha256: and the hexadecimal digest of it, so that this file gives nothing away.
{token} local admin
"""

_log = logging.getLogger(__name__)


class Role(StrEnum):
    ADMIN = "admin"
    VIEWER = "viewer"
    NAMESPACE = "namespace"


class Caller(msgspec.Struct, frozen=True):
    """Somebody the API knows. `namespace` is where a caller of that role may do things, else "".

    `until`: seconds since the epoch after which nobody is let in as this caller; 0 for no end.
    """

    name: str
    role: Role
    namespace: str = ""
    until: int = 0


class TokenFile:
    """The tokens in force. A line that cannot be understood gives nobody access, and is logged without its token."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._stamp: tuple[int, ...] = ()
        self._known: tuple[tuple[bytes, Caller], ...] = ()

    @classmethod
    def made(cls, folder: Path) -> "TokenFile":
        """With one token of an admin, if there is no file yet. Raises `Misconfigured`."""
        path = directory(folder) / TOKENS
        kept(path, lambda: _TEMPLATE.format(token=secrets.token_urlsafe(32)).encode())
        return cls(path)

    def caller(self, token: str) -> Caller | None:
        """Takes as long for a wrong token as for a right one: digests are compared, and all of them."""
        self._refresh()
        given = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        found = None
        for digest, caller in self._known:
            if hmac.compare_digest(digest, given) and not is_over(caller, self._clock()):
                found = caller
        return found if token else None

    def admin_token(self) -> str:
        """The first that is an admin's and is written out. Raises `Misconfigured`."""
        for line in self._path.read_text("utf-8", "replace").splitlines():
            words = line.split()
            if words[2:3] == [Role.ADMIN] and not words[0].startswith(("#", "sha256:")):
                return words[0]
        raise Misconfigured(f"{self._path} has no admin's token", fix="add a line: TOKEN NAME admin")

    def _refresh(self) -> None:
        """A file that is gone or unreadable lets nobody in."""
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
            if stamp != self._stamp:
                self._known = tuple(_parsed(self._path.read_text("utf-8", "replace"), self._path))
                self._stamp = stamp
        except OSError as error:
            _log.error("nobody has access: %s cannot be read: %s", self._path, error.strerror)
            self._known, self._stamp = (), ()


def is_over(caller: Caller, now: float) -> bool:
    """Whether the time of this caller is up. `now` in seconds since the epoch."""
    return bool(caller.until) and now >= caller.until


def line_of(token: str, caller: Caller) -> str:
    """As it stands in the file."""
    place = [caller.namespace] if caller.namespace else []
    end = [f"until={datetime.fromtimestamp(caller.until, UTC):%Y-%m-%dT%H:%M:%SZ}"] if caller.until else []
    return " ".join((token, caller.name, caller.role, *place, *end))


def caller_of(line: str) -> Caller | None:
    """Whom a line of the file lets in; None for a comment, and for what cannot be understood."""
    entry = _entry(_words(line))
    return entry[1] if entry else None


def _parsed(text: str, path: Path) -> list[tuple[bytes, Caller]]:
    result = []
    for number, line in enumerate(text.splitlines(), 1):
        words = _words(line)
        entry = _entry(words)
        if entry is not None:
            result.append(entry)
        elif words:
            _log.error("%s:%d is not TOKEN NAME ROLE [NAMESPACE] [until=TIME]", path, number)
    return result


def _words(line: str) -> list[str]:
    return line.partition("#")[0].split()


def _entry(words: list[str]) -> tuple[bytes, Caller] | None:
    try:
        until = _moment(words.pop().removeprefix(_UNTIL)) if words[-1:] and words[-1].startswith(_UNTIL) else 0
    except ValueError:
        return None
    match words:
        case [token, name, (Role.ADMIN | Role.VIEWER) as role]:
            return _digest(token), Caller(name, Role(role), until=until)
        case [token, name, Role.NAMESPACE, namespace]:
            return _digest(token), Caller(name, Role.NAMESPACE, namespace, until)
    return None


def _moment(text: str) -> int:
    """Seconds since the epoch; without an offset it is UTC. Raises `ValueError`."""
    found = datetime.fromisoformat(text)
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


def _digest(token: str) -> bytes:
    hashed = _HASHED.fullmatch(token)
    return bytes.fromhex(hashed[1]) if hashed else hashlib.sha256(token.encode()).digest()
