"""Who may use the config API over the network: a file of tokens, each with a name and a role. Changes count at once.

Not for the unix socket: who can open that is its owner.
"""

import hashlib
import hmac
import logging
import re
import secrets
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from core.errors import Misconfigured
from core.manager.ca.private import directory, kept

TOKENS: Final = "tokens"
"""Name of the file in the API's directory."""

_HASHED: Final = re.compile(r"sha256:([0-9a-f]{64})")
_TEMPLATE: Final = """\
# Who may use the config API: TOKEN NAME ROLE [NAMESPACE], one a line. Changes are in force with the next request.
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
    """Somebody the API knows. `namespace` is where a caller of that role may do things, else ""."""

    name: str
    role: Role
    namespace: str = ""


class TokenFile:
    """The tokens in force. A line that cannot be understood gives nobody access, and is logged without its token."""

    def __init__(self, path: Path) -> None:
        self._path = path
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
            if hmac.compare_digest(digest, given):
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


def _parsed(text: str, path: Path) -> list[tuple[bytes, Caller]]:
    result = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        entry = _entry(words)
        if entry is not None:
            result.append(entry)
        elif words:
            _log.error("%s:%d is not TOKEN NAME ROLE [NAMESPACE]", path, number)
    return result


def _entry(words: list[str]) -> tuple[bytes, Caller] | None:
    match words:
        case [token, name, (Role.ADMIN | Role.VIEWER) as role]:
            return _digest(token), Caller(name, Role(role))
        case [token, name, Role.NAMESPACE, namespace]:
            return _digest(token), Caller(name, Role.NAMESPACE, namespace)
    return None


def _digest(token: str) -> bytes:
    hashed = _HASHED.fullmatch(token)
    return bytes.fromhex(hashed[1]) if hashed else hashlib.sha256(token.encode()).digest()
