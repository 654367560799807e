"""Who changed what through the config API: one JSON line for every write that was tried, in a file of the Manager's."""

import contextlib
import errno
import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

AUDIT: Final = "audit.jsonl"
"""Name of the file in the API's directory; the one before it has `.1` behind."""

LARGEST: Final = 16 * 1024 * 1024
"""Bytes after which a new file is begun; two are kept."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request. `outcome` is the HTTP status; `object` is the path of the URL."""

    who: str
    verb: str
    object: str
    outcome: int
    agent: str = ""
    dry_run: bool = False


class AuditLog:
    """Lines are whole: one `write` each, appended."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / AUDIT

    def note(self, entry: Entry) -> None:
        """Raises `OSError`: who writes without being noted is not answered as if all were well."""
        line = {"when": datetime.now(UTC).isoformat(timespec="milliseconds"), **msgspec.to_builtins(entry)}
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            _append(descriptor, msgspec.json.encode(line) + b"\n")
            if os.fstat(descriptor).st_size > LARGEST:
                self._put_aside(descriptor)
        finally:
            os.close(descriptor)

    def _put_aside(self, descriptor: int) -> None:
        """Several Managers share the file: one of them does it, and what is put aside is the full one."""
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), self._path.stat()):
                self._path.replace(self._path.with_suffix(".jsonl.1"))


def _append(descriptor: int, line: bytes) -> None:
    """Raises `OSError`. Half a line, where a disk has no room for more, would spoil the next one: it is taken back."""
    written = os.write(descriptor, line)
    if written == len(line):
        return
    end = os.lseek(descriptor, 0, os.SEEK_CUR)
    if os.fstat(descriptor).st_size == end:  # else another Manager found room behind it
        os.ftruncate(descriptor, end - written)
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
