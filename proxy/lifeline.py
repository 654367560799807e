"""Ends process groups whose agent was killed: one small process per agent process, told of every group by a pipe.

When the pipe breaks, the agent is gone, by whatever means, and what is still on the list is ended, grandchildren
included. That also covers systems without PR_SET_PDEATHSIG. Not for stopping in order: that is the agent's own work.
Run as a script this module is that process; it imports nothing of ours.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL for what was left behind."""


class Lifeline:
    """The agent's end. Usable from one process only; children do not inherit the pipe."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def add(self, group: int) -> None:
        self._tell(f"+{group}\n")

    def remove(self, group: int) -> None:
        self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        """A lifeline that is itself gone protects nothing any more, but breaks nothing either."""
        with contextlib.suppress(OSError):
            os.write(self._pipe, line.encode())


@contextlib.contextmanager
def lifeline() -> Iterator[Lifeline]:
    """Starts the process beside this one; it ends when the block is left."""
    reading, writing = os.pipe()
    command = [sys.executable, "-I", "-S", __file__]
    with open(reading, "rb") as end:
        process = subprocess.Popen(command, stdin=end, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield Lifeline(writing)
    finally:
        os.close(writing)
        process.wait()


def keep(source: int) -> None:
    """Keeps the list of groups until `source` ends, then ends them."""
    groups: set[int] = set()
    rest = b""
    while chunk := os.read(source, 4096):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            (groups.add if line.startswith(b"+") else groups.discard)(int(line[1:]))
    end(groups)


def end(groups: set[int]) -> None:
    deadline = time.monotonic() + GRACE
    left = {group for group in groups if signalled(group, signal.SIGTERM)}
    while left and time.monotonic() < deadline:
        select.select([], [], [], 0.02)
        left = {group for group in left if signalled(group, 0)}
    for group in left:
        signalled(group, signal.SIGKILL)


def signalled(group: int, number: int) -> bool:
    """Whether the group still exists."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    keep(sys.stdin.fileno())
