"""A config store's file that somebody deletes while meshes run (cleaners of /tmp do): it is put back as it was.

SQLite itself notices nothing and writes on, into a file without a name that ends with the last process that has it.
"""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path


def is_in_place(path: Path, opened: os.stat_result) -> bool:
    """Whether what was opened is what others find there."""
    try:
        return os.path.samestat(path.stat(), opened)
    except OSError:
        return False


def put_back(sql: sqlite3.Connection, path: Path) -> bool:
    """Whether it was missing, and `sql` had to say what was in it. Of several processes the first does so.

    Raises `OSError` and `sqlite3.Error` where it cannot be.
    """
    with _alone(path.parent):
        if path.exists():
            return False
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        sql.execute("VACUUM INTO ?", (str(draft),))
        for companion in ("-wal", "-shm"):  # they belong to the file that is gone
            path.with_name(path.name + companion).unlink(missing_ok=True)
        draft.rename(path)
        return True


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Among those who do the same; the kernel gives the lock up for who is killed."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
