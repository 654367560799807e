"""The few calls into the kernel that Python 3.11 has no functions for: namespaces and mounts. Linux only."""

import contextlib
import ctypes
import os
from collections.abc import Iterator

NEW_MOUNTS, NEW_NETWORK = 0x00020000, 0x40000000
"""clone(2): CLONE_NEWNS, CLONE_NEWNET."""
_BIND, _DETACH = 4096, 2
"""mount(2): MS_BIND; umount2(2): MNT_DETACH."""


def unshare(flags: int) -> None:
    """Gives this thread namespaces of its own. Raises `OSError`."""
    _called("unshare", ctypes.CDLL(None, use_errno=True).unshare(flags))


def join(namespace: int) -> None:
    """Moves this thread into the namespace that the descriptor stands for. Raises `OSError`."""
    _called("setns", ctypes.CDLL(None, use_errno=True).setns(namespace, 0))


def mount(source: str, target: str, kind: str) -> None:
    """Mounts a new file system of that kind; "bind": what is at `source`. Raises `OSError`."""
    libc = ctypes.CDLL(None, use_errno=True)
    flags = _BIND if kind == "bind" else 0
    arguments = (source.encode(), target.encode(), None if kind == "bind" else kind.encode())
    _called(f"mount {target}", libc.mount(*arguments, ctypes.c_ulong(flags), None))


def unmount(target: str) -> None:
    """Takes it out of sight at once, whoever still uses it. Raises `OSError`."""
    _called(f"umount {target}", ctypes.CDLL(None, use_errno=True).umount2(target.encode(), _DETACH))


@contextlib.contextmanager
def within(network: int) -> Iterator[None]:
    """This thread in another network for the time of the block."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        join(network)
        try:
            yield
        finally:
            join(home)
    finally:
        os.close(home)


def _called(what: str, result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
