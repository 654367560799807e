"""The numbers that a mesh has given out, in a file that several processes may use: one writes at a time."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from core.model.service import ServiceKey, WorkloadKey


class Entries(msgspec.Struct):
    """Pairs of key and number, the one asked for longest ago first."""

    workloads: list[tuple[WorkloadKey, int]] = []
    services: list[tuple[ServiceKey, int]] = []
    doors: list[tuple[tuple[WorkloadKey, int], int]] = []


class Ledger:
    """Entries in the file at `path`. A file that cannot be read counts as empty: numbers are given anew."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextlib.contextmanager
    def held(self) -> Iterator[Entries]:
        """The entries, for this process alone; what was changed in them is kept when the block ends."""
        with open(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            before = file.read()
            entries = _decoded(before)
            yield entries
            after = msgspec.json.encode(entries)
            if after != before:
                with contextlib.suppress(OSError):  # a full disk costs the numbers after the next start, not the mesh
                    os.pwrite(file.fileno(), after, 0)
                    file.truncate(len(after))


def _decoded(content: bytes) -> Entries:
    try:
        return msgspec.json.decode(content, type=Entries)
    except msgspec.MsgspecError:
        return Entries()
