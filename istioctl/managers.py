"""Several Managers of one mesh on this machine: which of them to ask. Not for what is asked there."""

import socket
from pathlib import Path

from core.manager.api import SOCKET
from core.manager.paths import homes
from istioctl.transport import UnixSocket

PATIENCE = 1.0
"""Seconds in which a Manager says that it is there, when there is another one to ask instead."""

_QUESTION = b"GET /livez HTTP/1.1\r\nhost: manager\r\nconnection: close\r\n\r\n"


def nearest(state: Path) -> UnixSocket:
    """To the first Manager of the state directory that answers; the first of all if none does, or there is no other."""
    first, *others = sockets(state)
    found = next(filter(answers, (first, *others)), first) if others else first
    return UnixSocket(found)


def sockets(state: Path) -> tuple[Path, ...]:
    """Where the config API of each Manager is, or would be."""
    return tuple(home / SOCKET for home in homes(state))


def answers(path: Path) -> bool:
    """Whether there is a Manager that says anything: one that hangs is connected to, and stays silent."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(PATIENCE)
        try:
            line.connect(str(path))
            line.sendall(_QUESTION)
            return bool(line.recv(1))
        except OSError:
            return False
