"""Becomes another program that dies with its parent: `python launch.py PARENT LC_CTYPE PROGRAM ARGUMENT…`. A script.

A program of its own because the two calls have to happen between fork and exec, where a process with threads (gRPC's,
in a Manager that runs agents) must not run Python. Imports nothing of ours: it runs isolated, in some 20 ms.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""prctl(2), Linux only; kept across exec. Elsewhere the lifeline alone ends what an agent leaves behind."""
NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit codes of a POSIX shell for a command it could not run."""


def die_with(parent: int) -> None:
    """Asks for SIGKILL when the parent ends; ends here when that has already happened."""
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)


def environment(locale: str) -> dict[str, str]:
    """The environment as it was: Python sets LC_CTYPE when it starts in the C locale (PEP 538)."""
    kept = {name: value for name, value in os.environ.items() if name != "LC_CTYPE"}
    return {**kept, "LC_CTYPE": locale} if locale else kept


def become(program: list[str], locale: str) -> None:
    """Python ignores these two signals, and what is ignored stays so across exec."""
    for name in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(name, signal.SIG_DFL)
    try:
        os.execvpe(program[0], program, environment(locale))
    except OSError as error:
        sys.stderr.write(f"{program[0]}: {error.strerror}\n")
        sys.exit(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE)


if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    become(sys.argv[3:], sys.argv[2])
