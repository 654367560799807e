"""The state directory: whether a mesh can live there, and what an earlier one left behind."""

import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec

from core.manager.api import SOCKET
from istioctl.checks.verdict import Verdict, doubtful, failed, good
from istioctl.managers import sockets
from proxy.agent import SOCKET_PATH_LIMIT

ROOMY, CRAMPED = 500_000_000, 50_000_000
"""Free bytes: below the first it is time to look, below the second logs and certificates may fail to be written."""

LONGEST_SOCKET = f"proxies/{'x' * 40}/admin.sock"
"""What is put behind the state directory at most (`core.manager.paths`)."""

PROC = Path("/proc")


class Leftover(msgspec.Struct, frozen=True):
    pid: int
    command: str


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """`unusable`: why nothing can be written there. `held`: a mesh runs there. `files`: what lies there otherwise."""

    path: Path
    unusable: str = ""
    free: int
    held: bool = False
    kept: bool = False
    files: bool = False
    leftovers: tuple[Leftover, ...] = ()


def gather(path: Path) -> Facts:
    """Changes nothing: the directory is not made when it is not there."""
    existing = next(each for each in (path, *path.parents) if each.exists())
    held = _is_held(path / "lock")
    return Facts(
        path=path,
        unusable=_unusable(existing),
        free=shutil.disk_usage(existing).free,
        held=held,
        kept=(path / "kept").exists(),
        files=any((path / name).exists() for name in ("proxies", "xds", SOCKET)),
        leftovers=() if held else tuple(_processes(path)),
    )


def _unusable(existing: Path) -> str:
    if not existing.is_dir():
        return f"{existing} is not a directory"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{existing} cannot be written by this user"
    if os.statvfs(existing).f_flag & os.ST_RDONLY:
        return f"{existing} is on a file system that is read-only"
    return ""


def _is_held(lock: Path) -> bool:
    """As `istioctl up` holds it, for as long as it lives."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _processes(path: Path) -> Iterator[Leftover]:
    """Those that were started with this state directory: Envoys name their bootstrap in it, Managers the directory."""
    wanted = (f"{path}/proxies/", f'"state":"{path}"')
    for entry in PROC.iterdir() if PROC.is_dir() else ():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if any(each in command for each in wanted):
            yield Leftover(int(entry.name), command)


def judge(facts: Facts) -> tuple[Verdict, ...]:
    return _usable(facts), _short(facts), _room(facts), _leftovers(facts), _remains(facts)


def _usable(facts: Facts) -> Verdict:
    text = f"the state directory {facts.path} can be used"
    if not facts.unusable:
        return good(text)
    return failed(text, facts.unusable, fix="give another --state-dir, or set $ISTIO_STATE_DIR")


def _short(facts: Facts) -> Verdict:
    """unix(7): the path of a socket has a limit."""
    text = "its path is short enough for the sockets in it"
    excess = len(os.fsencode(facts.path / LONGEST_SOCKET)) - SOCKET_PATH_LIMIT
    if excess <= 0:
        return good(text)
    return doubtful(
        text,
        f"with long names of workloads it is up to {excess} bytes too long",
        fix="give a shorter --state-dir, or set $ISTIO_STATE_DIR",
    )


def _room(facts: Facts) -> Verdict:
    text, reason = "the disk has room", f"{facts.free // 1_000_000} MB are free at {facts.path}"
    fix = "free some space, or give a --state-dir on another disk"
    if facts.free >= ROOMY:
        return good(f"{text} ({facts.free / 1e9:.1f} GB)")
    return (doubtful if facts.free >= CRAMPED else failed)(text, reason, fix=fix)


def _leftovers(facts: Facts) -> Verdict:
    text = "no process of an earlier mesh is left"
    if not facts.leftovers:
        return good(text)
    pids = " ".join(str(each.pid) for each in facts.leftovers)
    return failed(text, f"{len(facts.leftovers)} still run, and hold its addresses", fix=f"kill {pids}")


def _remains(facts: Facts) -> Verdict:
    text = "no files of an earlier mesh are left"
    if facts.held:
        return good("a mesh runs there")
    if facts.kept:
        return good("rules of an earlier mesh are kept there (istioctl up --keep goes on with them)")
    if not facts.files:
        return good(text)
    fix = f"rm -r {facts.path} (the next istioctl up removes them, too)"
    return doubtful(text, f"a mesh that was killed left some in {facts.path}", fix=fix)


def answers(path: Path) -> bool:
    """Whether somebody listens on the socket of a Manager."""
    return any(map(_listens, sockets(path)))


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(0.5)
        try:
            sock.connect(str(path))
        except OSError:
            return False
    return True
