"""Ctrl-C while a command line is still being loaded: the same end as later, and no traceback of imports.

Loads next to nothing itself, and is not for what happens once a command runs.
"""

import os
import signal
from importlib import import_module
from types import FrameType

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT."""


def run(module: str) -> int:
    """Loads `module`, and returns what its `main` does. There is nothing to clean up before that is called.

    Who starts us with SIGINT ignored (`nohup`, a script's `&`) is not interrupted, as Python has it.
    """
    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heeded:
        signal.signal(signal.SIGINT, _end)
    program = import_module(module).main
    try:
        if heeded:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return int(program() or 0)
    except KeyboardInterrupt:
        return INTERRUPTED


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)
