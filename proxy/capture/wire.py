"""What the host's side and the fabric's process say to each other: one message a packet, open files beside it."""

import socket

import msgspec

from proxy.capture.apply import Backend
from proxy.capture.policy import Policy

_LONGEST = 128 * 1024
_MOST_FILES = 4


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """The one network that all pods are in, `range`. `backend` writes their rules; `own_user`: in a user namespace.

    `gateway` is the fabric's own address. What is not captured on its way there is asked for names, and so is
    `resolver_port`, where proxies ask.
    """

    prefix: int = 15
    gateway: str = "198.19.255.254"
    range: str = "198.18.0.0/15"
    resolver_port: int = 5353
    backend: Backend = "nft"
    own_user: bool = True


class Add(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A pod with this IPv4 address. `search`: domains in which its programs look for short names."""

    name: str
    address: str
    policy: Policy | None
    search: tuple[str, ...] = ()


class Remove(msgspec.Struct, frozen=True, tag=True):
    name: str


class Expose(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Pass on to this place what the listening socket beside this message accepts."""

    address: str
    port: int
    proxy_protocol: bool = False


class Listen(msgspec.Struct, frozen=True, tag=True):
    """Answer with a socket that listens on this port within that pod."""

    name: str
    port: int


class Unbound(msgspec.Struct, frozen=True, tag=True):
    """Answer with a socket (TCP) of that pod that is neither bound nor connected."""

    name: str


class WayOut(msgspec.Struct, frozen=True, tag=True):
    """Answer with two sockets: one accepts what leaves the pods' network (TCP), one hears DNS queries of proxies."""


Request = Add | Remove | Expose | Listen | Unbound | WayOut


class Ask(msgspec.Struct, frozen=True):
    number: int
    request: Request


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """`error` "" is success. `files`: numbers of descriptors in the fabric's process (of a pod: network, mounts)."""

    number: int
    error: str = ""
    fix: str = ""
    files: tuple[int, ...] = ()


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends that keep messages apart, and tell when the other end is gone."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _LONGEST)
    return ends


def send(end: socket.socket, message: msgspec.Struct, files: tuple[int, ...] = ()) -> None:
    """Raises `OSError` when the other end is gone, or reads nothing for long."""
    socket.send_fds(end, [msgspec.json.encode(message)], files)


def receive(end: socket.socket) -> tuple[bytes, list[int]]:
    """One message, b"" when the other end is gone."""
    content, files, _, _ = socket.recv_fds(end, _LONGEST, _MOST_FILES)
    return content, files
