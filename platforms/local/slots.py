"""Which meshes run on this machine: each holds its slot by an abstract unix socket, which dies with its process.

Abstract sockets belong to the network namespace, and so does loopback: exactly the scope in which addresses clash.
"""

import contextlib
import os
import socket
import struct
from collections.abc import Iterator

from core.errors import Misconfigured
from platforms.local.addresses import SLOTS


@contextlib.contextmanager
def claimed(slot: int | None) -> Iterator[int]:
    """Holds `slot`, or the first free one for None, until the end of the block.

    Raises `Misconfigured` when it is taken (naming the process that holds it) or all are.
    """
    candidates = range(SLOTS) if slot is None else [slot]
    for candidate in candidates:
        holder = _hold(candidate)
        if holder is not None:
            with holder:
                yield candidate
            return
    raise _taken(candidates)


def _hold(slot: int) -> socket.socket | None:
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        holder.bind(_name(slot))
        holder.listen(1)
    except OSError:
        holder.close()
        return None
    return holder


def _taken(slots: "range | list[int]") -> Misconfigured:
    if len(slots) > 1:
        holders = ", ".join(f"{slot}: {_holder(slot)}" for slot in slots)
        return Misconfigured(f"all {SLOTS} slots are in use ({holders})", fix="stop one of these meshes")
    fix = "stop that mesh, or leave the slot out to take a free one"
    return Misconfigured(f"slot {slots[0]} is in use by {_holder(slots[0])}", fix=fix)


def _holder(slot: int) -> str:
    """The process that listens on the slot's socket, as the kernel tells it (unix(7), SO_PEERCRED)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(0.2)
        try:
            client.connect(_name(slot))
            credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return "another process"
    pid = struct.unpack("3i", credentials)[0]
    return "this process" if pid == os.getpid() else f"process {pid}"


def _name(slot: int) -> str:
    return f"\0pistio-local-slot-{slot}"
