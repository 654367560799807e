"""Finds a port for a gateway that nobody listens on, with a number that people can remember."""

import socket
from collections.abc import Collection

from core.errors import Misconfigured

_FIRST = 8000
_STEP, _TRIES = 100, 100


def free_port(port: int, *, address: str, slot: int, given: Collection[int] = ()) -> int:
    """A free one near 8000 + `port`: 8080 for 80, 8443 for 443; meshes side by side begin 100 apart.

    `given` are others of this mesh, which nobody may listen on yet. Raises `Misconfigured` when there is none.
    """
    first = (_FIRST + port if port < _FIRST else port) + slot * _STEP
    for candidate in range(first, min(first + _TRIES, 65536)):
        if candidate not in given and _is_free(address, candidate):
            return candidate
    message = f"no port from {first} to {first + _TRIES - 1} is free on {address}"
    raise Misconfigured(message, fix="write a number in place of auto")


def _is_free(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((address, port))
        except OSError:
            return False
    return True
