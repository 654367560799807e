"""Files that only their owner may read, made once: Managers that start at the same time agree on one content."""

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from core.errors import Misconfigured

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def kept(path: Path, make: Callable[[], bytes]) -> bytes:
    """What is in the file; `make` says it if there is none yet, and if nobody else was faster.

    Raises `Misconfigured` when the file cannot be used, or others may read it.
    """
    try:
        if not path.exists():
            _settle(path, make())
        return _read(path)
    except OSError as error:
        raise Misconfigured(
            f"{path}: {error.strerror or error}", fix="make it readable and writable for you"
        ) from error


def directory(path: Path) -> Path:
    """Makes it, for its owner alone. Raises `Misconfigured`, also where others could replace what is in it."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be made: {error.strerror}", fix="choose another state directory") from error
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Misconfigured(f"others may write to {path} (mode {mode:o})", fix=f"chmod 700 {path}")
    return path


def sync(path: Path) -> None:
    """Returns when what happened to the names in this directory would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _settle(path: Path, content: bytes) -> None:
    """Written whole under another name first; a link appears at once, and only where nothing is yet."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        write(draft, content)
        os.link(draft, path)
        sync(path.parent)
    except FileExistsError:
        pass  # Somebody was faster, and that holds.
    finally:
        draft.unlink(missing_ok=True)


def write(path: Path, content: bytes) -> None:
    """A new file, on disk when this returns. Raises `FileExistsError`, and `OSError` for other reasons."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & _OTHERS:
            raise Misconfigured(f"{path} may be read or written by others (mode {mode:o})", fix=f"chmod 600 {path}")
        return file.read()
