"""Looks at the processes of this machine, for tests that nothing was left behind. Linux only."""

import os
from pathlib import Path


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie that nobody took note of does not."""
    state, *_ = _stat(pid) or ("Z",)
    return state != "Z"


def running(text: str) -> list[int]:
    """Processes with `text` in their command line. One that has just been started may be missing."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and text in command_line(int(name))]


def children(text: str) -> list[int]:
    """Those of them that this process started."""
    return [pid for pid in running(text) if _stat(pid)[1:2] == [str(os.getpid())]]


def command_line(pid: int) -> str:
    """As one text; "" when the process is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
