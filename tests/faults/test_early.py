"""Ctrl-C right after the start: no moment at which a command line answers with a traceback."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

_MARK = b"loading\n"
_MOMENTS = 16
_RUNS = """
import os, sys
from {entry} import main


class Watching:
    def find_spec(self, name, path=None, target=None):
        if name == "{loads}":
            os.write(2, b"loading\\n")


sys.meta_path.insert(0, Watching())
sys.exit(main())
"""


def interrupted(program: str, arguments: Iterable[str], *, after: float) -> tuple[int, str]:
    """Its exit code and words, when Ctrl-C comes seconds `after` it began to load. What it may wait for never comes."""
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr
        assert process.stderr.readline() == _MARK
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(after)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)
    return process.returncode, said.decode().strip()


def ends(entry: str, loads: str, arguments: Iterable[str], *, last: float) -> set[tuple[int, str]]:
    """What there is to see when Ctrl-C comes at many moments between the first import and `last` seconds later."""
    program = _RUNS.format(entry=entry, loads=loads)
    return {interrupted(program, arguments, after=last * i / _MOMENTS) for i in range(_MOMENTS)}


def test_istioctl_has_nothing_to_say_of_ctrl_c_while_it_loads() -> None:
    """From the first import until it waits for what it is to apply: exit code 130, and no words."""
    assert ends("istioctl.entry", "istioctl.cli", ["apply", "-f", "-"], last=0.3) == {(130, "")}


def test_istio_agent_has_nothing_to_say_of_ctrl_c_while_it_loads(tmp_path: Path) -> None:
    """The same; once it runs, it ends in order, as an agent does whose application has not begun (0)."""
    arguments = ["run", "--name=a", "--address=127.0.0.1", f"--state-dir={tmp_path}", "--", "sleep", "9"]
    seen = ends("proxy.__main__", "proxy.command_line", arguments, last=0.2)
    assert (130, "") in seen
    assert seen <= {(130, ""), (0, "")}
