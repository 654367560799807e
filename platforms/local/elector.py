"""Which of several processes on this machine leads: the one that holds the lock on a file of the state directory.

The kernel gives the lock up when its process ends, however that ends; a process that is merely stopped keeps it. No
clock is involved. The file holds the number of the newest term; nobody may delete it while meshes run.
"""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from core.errors import Misconfigured, Unavailable

_DIGITS = 20


class FileElector:
    """An `Elector`. `every`: seconds between two tries of one who waits, and between two looks of one who leads."""

    def __init__(self, path: Path, *, every: float = 0.05) -> None:
        self._path = path
        self._every = every

    async def lead(self, work: Callable[[int], Awaitable[None]]) -> None:
        """Raises `Misconfigured` when the lock file cannot be used, `Unavailable` when somebody took it away."""
        lock = await self._won()
        try:
            await self._serve(work(self._next_term(lock)), lock)
        finally:
            os.close(lock)

    async def _won(self) -> int:
        while True:
            if (lock := self._try()) is not None:
                return lock
            await asyncio.sleep(self._every)

    def _try(self) -> int | None:
        lock = self._open()
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._in_place(lock):
                return lock
        os.close(lock)
        return None

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            reason = error.strerror or str(error)
            raise Misconfigured(
                f"{self._path} cannot be used as a lock: {reason}", fix="choose another state directory"
            ) from error

    async def _serve(self, work: Awaitable[None], lock: int) -> None:
        """Until `work` is over, in whatever way: before that the lock is not given up."""
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait([task], timeout=self._every))[0]:
                if not self._in_place(lock):
                    fix = "do not delete files of the state directory while the mesh runs"
                    raise Unavailable(f"the lock {self._path} was taken away", fix=fix)
        finally:
            task.cancel()
            await asyncio.wait([task])
        task.result()

    def _in_place(self, lock: int) -> bool:
        """Whether what we have locked is what others find under the name."""
        try:
            return os.path.samestat(os.fstat(lock), self._path.stat())
        except FileNotFoundError:
            return False

    def _next_term(self, lock: int) -> int:
        """Counts up, on disk, before anybody acts in the new term."""
        text = os.pread(lock, _DIGITS, 0).strip() or b"0"
        if not text.isdigit():
            fix = "write the number of the last term into it, or a higher one; delete it when that does not matter"
            raise Misconfigured(f"{self._path} is damaged: it holds no number", fix=fix)
        term = int(text) + 1
        os.pwrite(lock, b"%0*d" % (_DIGITS, term), 0)
        os.fsync(lock)
        return term
