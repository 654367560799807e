"""Where a workload of the mesh here runs, for one more program: in its pod, if it has one, and with what it is told.

Knows processes and files of this machine; what is run there is up to the command.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from core.errors import Unavailable
from core.manager.paths import agent_directory
from core.model.service import WorkloadKey
from core.model.workload import Explicit
from proxy.capture import enter
from proxy.envoy_process import Files
from proxy.reports import Assignment, assignment

PROC = Path("/proc")


class Place(msgspec.Struct, frozen=True):
    """`within`: the words that run a program there, none where that is here. `environment` is added to one's own."""

    within: tuple[str, ...]
    environment: dict[str, str]


def place(state: Path, key: WorkloadKey, *, proc: Path = PROC) -> Place:
    """Where `key` runs. Raises `Unavailable` while its agent does not."""
    process = agent(state, key, proc=proc)
    try:
        work = assignment((process / "fd/0").read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise _away(key) from error
    return Place(_within(process, proc), _environment(work))


def agent(state: Path, key: WorkloadKey, *, proc: Path = PROC) -> Path:
    """The directory in /proc of the agent of `key`. Raises `Unavailable` when there is none.

    It is the process whose standard input tells it its work; that file is its alone, and its name is gone already.
    """
    file = Files(agent_directory(state, key)).assignment.resolve()
    names = [f"{file}{end}" for end in ("", " (deleted)")]
    for process in _processes(proc):
        try:
            if os.readlink(process / "fd/0") in names:
                return process
        except OSError:  # it ended, or is somebody else's
            continue
    raise _away(key)


def _away(key: WorkloadKey) -> Unavailable:
    return Unavailable(
        f"the agent of {key} does not run here", fix="see what istioctl up says of it, or: istioctl check"
    )


def _processes(proc: Path) -> Iterable[Path]:
    return (each for each in proc.iterdir() if each.name.isdigit())


def _within(agent: Path, proc: Path) -> tuple[str, ...]:
    if _same(agent, proc, "net"):
        return ()
    user = "-" if _same(agent, proc, "user") else "ns/user"
    return (sys.executable, "-I", "-S", enter.__file__, agent.name, user, "ns/net", "ns/mnt")


def _same(agent: Path, proc: Path, kind: str) -> bool:
    return os.path.samefile(agent / "ns" / kind, proc / "self/ns" / kind)


def _environment(work: Assignment) -> dict[str, str]:
    """What its command is told; where it has none, at least the way out through its sidecar."""
    if work.command is not None:
        return work.command.environment
    match work.workload.capture:
        case Explicit(http_proxy_port=port) if work.workload.role == "sidecar":
            return dict.fromkeys(("http_proxy", "HTTP_PROXY"), f"http://{work.workload.address}:{port}")
        case _:
            return {}
