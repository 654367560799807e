"""The certificate where Envoy finds it: two files of one Envoy `Secret` each, replaced by one rename (file SDS).

Envoy watches the files' folder for renames. Not for what refers to them: that is in what the Manager sends.
"""

import base64
import contextlib
import errno
from pathlib import Path

import msgspec

from core.errors import Unavailable
from core.model.identity import CERTIFICATE, CERTIFICATE_FILE, ROOTS, ROOTS_FILE
from proxy.identity.certificate import Certificate, Key

_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
_FIX = {
    errno.ENOSPC: "Free some space; the agent goes on trying.",
    errno.EDQUOT: "Free some space or raise the quota; the agent goes on trying.",
    errno.EROFS: "Make that file system writable; the agent goes on trying.",
    errno.EACCES: "Give the agent's user the directory (mode 0700); the agent goes on trying.",
}

Json = dict[str, object]


class Secrets:
    """The files below `directory`, which is the one Envoy runs in.

    `pair`, if given, gets certificate and key as one PEM file: what the agent itself shows to a Manager elsewhere.
    """

    unread = 0.0
    """Seconds for which new files may lie there before their reader looks; Envoy is told at once."""

    def __init__(self, directory: Path, *, pair: Path | None = None) -> None:
        self._certificate = directory / CERTIFICATE_FILE
        self._roots = directory / ROOTS_FILE
        self._pair = pair

    @property
    def exist(self) -> bool:
        return self._certificate.exists() and self._roots.exists()

    def write(self, certificate: Certificate) -> bool:
        """Roots first: peers with certificates of a new root are trusted before we show ours. Each only if it is new.

        Whether there was anything to write.

        Raises `Unavailable` when the disk does not take it; what was there before is then untouched.
        """
        issued = certificate.issued
        pair = {"certificate_chain": _inline(issued.chain.encode()), "private_key": _inline(certificate.key.pem)}
        roots: Json = {"validation_context": {"trusted_ca": _inline(issued.roots.encode())}}
        wrote = self._replace(self._roots, _secret(ROOTS, roots))
        wrote |= self._replace(self._certificate, _secret(CERTIFICATE, {"tls_certificate": pair}))
        if self._pair is not None:
            wrote |= self._replace(self._pair, issued.chain.encode() + certificate.key.pem)
        return wrote

    def read(self) -> tuple[Key, str, str] | None:
        """Key, chain and roots of an agent that was killed; None when there are none, or not whole."""
        try:
            pair = _content(self._certificate)["tls_certificate"]
            roots = _content(self._roots)["validation_context"]["trusted_ca"]
            chain, key = pair["certificate_chain"], pair["private_key"]
        except (OSError, msgspec.MsgspecError, KeyError):
            return None
        return Key(_plain(key)), _plain(chain).decode(), _plain(roots).decode()

    def remove(self) -> None:
        """The pair stays: a token may be good for one use only, and the workload may come back."""
        with contextlib.suppress(OSError):
            for path in (self._certificate, self._roots):
                for each in (path, path.with_suffix(".new")):
                    each.unlink(missing_ok=True)
            self._certificate.parent.rmdir()

    def _replace(self, path: Path, content: bytes) -> bool:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path.exists() and path.read_bytes() == content:
                return False
            write_private(path, content)
            return True
        except OSError as error:
            fix = _FIX.get(error.errno or 0, "The agent goes on trying.")
            raise Unavailable(f"cannot write {path}: {error.strerror or error}", fix=fix) from error


def write_private(path: Path, content: bytes) -> None:
    """Whole or not at all, and for nobody else's eyes."""
    new = path.with_suffix(".new")
    try:
        new.unlink(missing_ok=True)
        new.touch(mode=0o600)
        new.write_bytes(content)
        new.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise


def _secret(name: str, content: Json) -> bytes:
    """A discovery response, as Envoy reads one from a file."""
    return msgspec.json.encode({"resources": [{"@type": _TYPE, "name": name, **content}]})


def _content(path: Path) -> dict[str, dict[str, dict[str, str]]]:
    """The fields of the one secret in the file; raises OSError, `msgspec.MsgspecError`."""
    found = msgspec.json.decode(path.read_bytes(), type=_File)
    return {name: value for name, value in found.resources[0].items() if isinstance(value, dict)}


class _File(msgspec.Struct):
    resources: tuple[dict[str, str | dict[str, dict[str, str]]]]


def _plain(inline: dict[str, str]) -> bytes:
    return base64.b64decode(inline["inline_bytes"])


def _inline(text: bytes) -> Json:
    return {"inline_bytes": base64.b64encode(text).decode()}
