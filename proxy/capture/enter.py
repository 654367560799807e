"""Becomes another program inside a pod: `python enter.py PID USER NETWORK MOUNTS PROGRAM ARGUMENT…`. A script.

PID is a process; what follows are its files (below /proc/PID) that stand for the namespaces, USER "-" for one's own.

Like nsenter(1), but the working directory, the environment, and the wish to die with the parent stay as they are (a
change of user namespace forgets that wish). Imports nothing of ours: it runs isolated, in some 20 ms.
"""

import ctypes
import os
import signal
import sys
from typing import NoReturn

SET_PDEATHSIG, GET_PDEATHSIG = 1, 2
"""prctl(2)."""


def main(process: str, user: str, network: str, mounts: str, *program: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    environment, directory = original_environment(), os.getcwd()
    wanted, parent = ctypes.c_int(), os.getppid()
    libc.prctl(GET_PDEATHSIG, ctypes.byref(wanted), 0, 0, 0)
    for namespace in opened(process, user, network, mounts):
        if libc.setns(namespace, 0) != 0:
            fail(f"cannot enter the pod: {os.strerror(ctypes.get_errno())}")
    libc.prctl(SET_PDEATHSIG, wanted.value, 0, 0, 0)
    if wanted.value and os.getppid() != parent:
        sys.exit(1)
    os.chdir(directory)
    become(program, environment)


def opened(process: str, *files: str) -> list[int]:
    """The user namespace first: it gives the rights to enter the others."""
    try:
        return [os.open(f"/proc/{process}/{file}", os.O_RDONLY) for file in files if file != "-"]
    except OSError as error:
        fail(f"the pod is gone: {error.strerror}")


def original_environment() -> dict[bytes, bytes]:
    """As it was handed over: Python sets LC_CTYPE when it starts in the C locale (PEP 538)."""
    with open("/proc/self/environ", "rb") as file:
        pairs = (entry.partition(b"=") for entry in file.read().split(b"\0") if entry)
        return {name: value for name, _, value in pairs}


def become(program: "tuple[str, ...]", environment: "dict[bytes, bytes]") -> None:
    """Python ignores these two signals, and what is ignored stays so across exec."""
    for name in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(name, signal.SIG_DFL)
    try:
        os.execvpe(program[0], program, environment)
    except OSError as error:
        sys.stderr.write(f"{program[0]}: {error.strerror}\n")
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)


def fail(text: str) -> NoReturn:
    sys.stderr.write(f"{text}\n")
    sys.exit(125)


if __name__ == "__main__":
    main(*sys.argv[1:])
