"""Whoever reads what a command prints may stop: a command that waits for changes then has nobody to wait for."""

import contextlib
import os
import select
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import click


@contextlib.contextmanager
def while_read() -> Iterator[None]:
    """Ends the command when the pipe that it prints into has no reader any more, as printing into it would.

    Of the main thread only, because that is the one that signals interrupt. What is no pipe is always read.
    """
    pipe = _pipe()
    if pipe is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    gone = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        """A Manager that broke off sends the same signal, and its connection says so itself."""
        if gone.is_set():
            raise click.exceptions.Exit(1)  # Not an OSError: those are what a connection breaks off with.

    before = signal.signal(signal.SIGPIPE, end)
    thread = threading.get_ident()
    threading.Thread(target=_watch, args=(pipe, thread, gone), daemon=True, name="reader").start()
    try:
        yield
    finally:
        signal.signal(signal.SIGPIPE, before)


def _pipe() -> int | None:
    """Standard output, if that is a pipe or a socket."""
    try:
        number = sys.stdout.fileno()
        mode = os.fstat(number).st_mode
    except (OSError, ValueError):
        return None
    return number if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else None


def _watch(pipe: int, thread: int, gone: threading.Event) -> None:
    """poll(2) tells of POLLERR, POLLHUP without being asked to, and here of nothing else."""
    poll = select.poll()
    poll.register(pipe, 0)
    poll.poll()
    gone.set()
    with contextlib.suppress(ProcessLookupError):
        signal.pthread_kill(thread, signal.SIGPIPE)
