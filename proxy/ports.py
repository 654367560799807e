"""Who holds a TCP port: asked before anything is started, and again when Envoy could not bind.

Reads Linux' /proc; elsewhere a port is still found taken, only its holder stays unknown. Not for choosing ports.
"""

import errno
import os
import pwd
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from core.errors import Misconfigured

PROC = Path("/proc")
LISTEN, TIME_WAIT = "0A", "06"
"""States of sockets in /proc/net/tcp (the kernel's net/tcp_states.h)."""

Address = tuple[str, int]


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """What listens on `address`:`port`. Of another user's process only `user` is known: `pid` None, `command` empty."""

    address: str
    port: int
    user: str
    pid: int | None = None
    command: str = ""

    def __str__(self) -> str:
        if self.pid is None:
            return f"a process of user {self.user}"
        return f"pid {self.pid}, user {self.user}: {self.command}"


class _Socket(msgspec.Struct, frozen=True):
    state: str
    address: str
    port: int
    uid: int
    inode: str


def holder(address: str, port: int) -> Holder | None:
    """Who listens on `address`:`port`, on the wildcard address included. None: nobody, or not to be found out.

    Blocks for some milliseconds per hundred processes of this machine.
    """
    found = _find(address, port, LISTEN)
    if found is None:
        return None
    pid = _owner(found.inode)
    command = _command(pid) if pid is not None else ""
    return Holder(address=found.address, port=port, user=_user(found.uid), pid=pid, command=command)


def check_free(addresses: Iterable[Address]) -> None:
    """Raises `Misconfigured`, naming each address that cannot be bound, its holder, and what to do about it."""
    problems = [problem for address in dict.fromkeys(addresses) if (problem := _problem(*address)) is not None]
    if problems:
        fixes = dict.fromkeys(fix for _, fix in problems)
        raise Misconfigured("; ".join(text for text, _ in problems), fix=" ".join(fixes))


def taken(address: str, port: int) -> tuple[str, str]:
    """What to say of a port that somebody else has, and the fix. Blocks as `holder` does."""
    who = holder(address, port)
    if who is None and _find(address, port, TIME_WAIT) is not None:
        return f"{shown(address, port)} is not free yet (connections in TIME_WAIT)", "Try again in a minute."
    return f"{shown(address, port)} is taken ({who or 'holder unknown'})", _fix(who, port)


def shown(address: str, port: int) -> str:
    """`address:port` as people write it (RFC 3986 brackets around IPv6)."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _fix(who: Holder | None, port: int) -> str:
    if who is not None and who.pid is not None:
        return f"Stop that process (kill {who.pid}) or choose another port."
    look = f"ss -ltnp 'sport = :{port}'" if sys.platform == "linux" else f"lsof -nP -iTCP:{port} -sTCP:LISTEN"
    return f"Find its holder (sudo {look}) and stop it, or choose another port."


def _problem(address: str, port: int) -> tuple[str, str] | None:
    try:
        _bind(address, port)
    except OSError as error:
        return _explain(error, address, port)
    return None


def _bind(address: str, port: int) -> None:
    """As Envoy binds: SO_REUSEADDR, so that connections in TIME_WAIT do not count, and no SO_REUSEPORT."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))


def _explain(error: OSError, address: str, port: int) -> tuple[str, str]:
    where = shown(address, port)
    if error.errno == errno.EADDRINUSE:
        return taken(address, port)
    if error.errno == errno.EADDRNOTAVAIL:
        add = f"ifconfig lo0 alias {address}" if sys.platform == "darwin" else f"ip address add {address} dev lo"
        return (
            f"{where} cannot be bound: this machine has no such address",
            f"Add it (sudo {add}) or choose another one.",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{where} cannot be bound: not allowed for this user", "Choose a port above 1023."
    return f"{where} cannot be bound: {error.strerror or error}", "Correct the address."


def _covers(bound: str, asked: str) -> bool:
    return bound in (asked, f"::ffff:{asked}", "::") or (bound == "0.0.0.0" and ":" not in asked)


def _find(address: str, port: int, state: str) -> _Socket | None:
    there = (sock for sock in _sockets() if sock.state == state and sock.port == port)
    return next((sock for sock in there if _covers(sock.address, address)), None)


def _sockets() -> Iterator[_Socket]:
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        yield from (_parse(line, family) for line in _lines(PROC / "net" / table))


def _parse(line: str, family: socket.AddressFamily) -> _Socket:
    """One line of /proc/net/tcp or tcp6 (proc(5)): addresses are 32-bit words of the machine's byte order."""
    fields = line.split()
    words, _, port = fields[1].partition(":")
    packed = b"".join(struct.pack("=I", int(words[i : i + 8], 16)) for i in range(0, len(words), 8))
    return _Socket(fields[3], socket.inet_ntop(family, packed), int(port, 16), int(fields[7]), fields[9])


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()[1:]
    except OSError:
        return []


def _owner(inode: str) -> int | None:
    wanted = f"socket:[{inode}]"
    pids = (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())
    return next((pid for pid in pids if wanted in _descriptors(pid)), None)


def _descriptors(pid: int) -> Iterator[str]:
    """What the open files of a process are; nothing for a process of somebody else, or one that is gone."""
    try:
        with os.scandir(PROC / str(pid) / "fd") as entries:
            for entry in entries:
                yield os.readlink(entry.path)
    except OSError:
        return


def _command(pid: int) -> str:
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
