"""Watches the content of one file by looking at it now and then; works on every file system, and across renames."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

_FRESH = 2.0
"""Seconds for which equal times and sizes prove nothing: file systems tick in up to two seconds."""

_State = tuple[int, int, int] | int
"""Inode, time of change and size; or the errno when there is no file to look at."""


async def contents(path: Path, *, every: float) -> AsyncIterator[bytes | OSError]:
    """What the file holds (or why it cannot be read): at once, and again whenever that has changed.

    A change is told once it has held still for `every` seconds, so that a file being written, or missing for the moment
    between two renames, is not taken for the truth.
    """
    before = read_at = _state(path)
    told = _read(path)
    yield told
    while True:
        await asyncio.sleep(every)
        now = _state(path)
        settled, before = now == before, now
        if not settled or (now == read_at and not _is_fresh(now)):
            continue
        read_at, content = now, _read(path)
        if not _same(content, told):
            told = content
            yield told


def _state(path: Path) -> _State:
    try:
        found = os.stat(path)
    except OSError as error:
        return error.errno or -1
    return found.st_ino, found.st_mtime_ns, found.st_size


def _is_fresh(state: _State) -> bool:
    return isinstance(state, tuple) and abs(time.time() - state[1] / 1e9) < _FRESH


def _read(path: Path) -> bytes | OSError:
    try:
        return path.read_bytes()
    except OSError as error:
        return error


def _same(one: bytes | OSError, other: bytes | OSError) -> bool:
    if isinstance(one, OSError) and isinstance(other, OSError):
        return one.errno == other.errno
    return one == other
