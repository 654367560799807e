"""Child processes and all that descends from them: started cleanly, read, and never left behind."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.errors import Misconfigured
from proxy.lifeline import lifeline
from proxy.process import Command, Exit, Lines, Process
from proxy.testing import eventually
from proxy.testing.processes import alive, children

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


class Shell:
    """A shell script as a process, and the lines it wrote."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.processes: list[Process] = []

    async def start(self, script: str, **environment: str) -> Process:
        command = Command(argv=("sh", "-c", script), environment=environment)
        self.processes.append(await Process.start(command, sink=Lines(self.lines.append)))
        return self.processes[-1]

    async def written(self, count: int = 1) -> list[str]:
        await eventually(lambda: len(self.lines) >= count, what=f"{count} lines, have {self.lines}")
        return self.lines


@pytest.fixture
async def shell() -> AsyncIterator[Shell]:
    shell = Shell()
    yield shell
    for process in shell.processes:
        await process.stop(grace=0)


async def test_output_and_exit_code(shell: Shell) -> None:
    """Both outputs arrive line by line, and the exit code is known."""
    process = await shell.start("echo out; echo err >&2; exit 3")
    assert await process.wait() == Exit(3)
    await process.stop(grace=1)
    assert sorted(shell.lines) == ["err", "out"]


async def test_killed_by_signal(shell: Shell) -> None:
    """An end by a signal is told by its name."""
    process = await shell.start("kill -9 $$")
    assert str(await process.wait()) == "killed by SIGKILL"


async def test_stop_is_gentle_first(shell: Shell) -> None:
    """A program that ends on SIGTERM gets the time to do so."""
    process = await shell.start("trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.01; done")
    await shell.written()
    assert await process.stop(grace=5) == Exit(7)
    assert shell.lines[-1] == "bye"


async def test_stop_is_firm_then(shell: Shell) -> None:
    """A program that ignores SIGTERM is killed after the grace."""
    process = await shell.start("trap '' TERM; echo up; while :; do sleep 0.01; done")
    await shell.written()
    assert await process.stop(grace=0.1) == Exit(-signal.SIGKILL)


async def test_grandchildren_go_as_well(shell: Shell) -> None:
    """Descendants end with their process: the gentle ones by themselves, the deaf ones by force."""
    deaf = "trap '' TERM; echo $$; while :; do sleep 0.01; done"
    process = await shell.start(f'sleep 100 & echo $!; sh -c "{deaf.replace("$", chr(92) + "$")}" & wait')
    pids = [int(line) for line in await shell.written(2)]
    assert all(alive(pid) for pid in pids)
    await process.stop(grace=0.2)
    await eventually(lambda: not any(alive(pid) for pid in pids))


async def test_grandchildren_get_their_grace(shell: Shell) -> None:
    """When the process itself ends at once, its descendants still have the grace to end well."""
    slow = r"trap 'sleep 0.3; echo saved; exit' TERM; echo up; while :; do sleep 0.01; done"
    process = await shell.start(f'sh -c "{slow}" & wait')
    await shell.written()
    await process.stop(grace=10)
    assert shell.lines[-1] == "saved"


ZOMBIE = """
import os, time
group = os.getpgid(0)
if os.fork() == 0:
    os.setpgid(0, 0)
    if os.fork() == 0:
        os.setpgid(0, group)
        os._exit(0)
    print(os.getpid(), flush=True)
time.sleep(100)
"""


async def test_zombies_do_not_hold_up_a_stop() -> None:
    """A member that has ended, of which its parent takes no note, is not waited for."""
    lines: list[str] = []
    process = await Process.start(Command(argv=(sys.executable, "-c", ZOMBIE)), sink=Lines(lines.append))
    await eventually(lambda: len(lines) == 1)
    try:
        async with asyncio.timeout(5):
            await process.stop(grace=60)
    finally:
        os.kill(int(lines[0]), signal.SIGKILL)


async def test_open_output_does_not_hold_up_a_stop(shell: Shell) -> None:
    """A descendant that left the group and keeps the output open is not waited for."""
    process = await shell.start("setsid sleep 5 & echo $!; exec true")
    (pid,) = await shell.written()
    async with asyncio.timeout(3):
        assert await process.wait() == Exit(0)
        await process.stop(grace=60)
    os.kill(int(pid), signal.SIGKILL)


async def test_cancelled_stop_kills(shell: Shell) -> None:
    """Whoever cannot wait for the grace may cancel: the group is killed at once."""
    process = await shell.start("trap '' TERM; echo $$; while :; do sleep 0.01; done")
    (pid,) = await shell.written()
    stopping = asyncio.create_task(process.stop(grace=60))
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    await eventually(lambda: not alive(int(pid)))


async def test_environment_is_untouched(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program sees the environment it was given, and no trace of how it was started."""
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    process = await shell.start('echo "$COLOUR ${LC_CTYPE-unset}"; kill -PIPE $$; echo deaf', COLOUR="blue")
    assert str(await process.wait()) == "killed by SIGPIPE"
    await process.stop(grace=0)
    assert shell.lines == ["blue unset"]


async def test_ctrl_c_reaches_the_agent_alone(shell: Shell) -> None:
    """Children are in a session of their own, so the terminal's Ctrl-C does not end them behind the agent's back."""
    process = await shell.start("echo up; sleep 100")
    await shell.written()
    assert os.getsid(process.pid) == process.pid != os.getsid(0)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (Command(argv=("no-such-program",)), "no program no-such-program"),
        (Command(argv=("./run",), directory="/tmp"), "no program ./run"),
        (Command(argv=("sh",), directory="/no/such/place"), "no directory /no/such/place"),
        (Command(argv=("sh",), environment={"PATH": "/nowhere"}), "no program sh"),
    ],
)
async def test_missing_program(command: Command, says: str) -> None:
    """A program or directory that is not there is found out before anything is started."""
    with pytest.raises(Misconfigured, match=says):
        await Process.start(command, sink=lambda chunk: None)


async def test_stdout_to_a_file(tmp_path: Path) -> None:
    """stdout can go to a file, which is appended to, apart from stderr."""
    lines: list[str] = []
    command = Command(argv=("sh", "-c", "echo out; echo err >&2"), stdout=str(tmp_path / "out"))
    for _ in range(2):
        process = await Process.start(command, sink=Lines(lines.append))
        await process.wait()
        await process.stop(grace=1)
    assert (lines, (tmp_path / "out").read_text()) == (["err", "err"], "out\nout\n")


def test_lines() -> None:
    """Lines are cut where they end, whatever the chunks; bad bytes and endless lines do no harm."""
    found: list[str] = []
    lines = Lines(found.append)
    for chunk in (b"a", b"b\r\nc\n\n", b"\xff\nend"):
        lines(chunk)
    assert found == ["ab", "c", "", "�"]
    lines.close()
    assert found[4:] == ["end"]
    lines(b"x" * 100_000)
    assert len(found) == 6


ORPHANS = """
import asyncio, contextlib, sys
from proxy.lifeline import lifeline
from proxy.process import Command, Process

async def main():
    with lifeline() if sys.argv[1] == "lifeline" else contextlib.nullcontext() as line:
        command = Command(argv=("sh", "-c", "trap '' TERM; sleep 100 & echo $$ $!; while :; do sleep 0.01; done"))
        await Process.start(command, sink=lambda chunk: print(chunk.decode(), end="", flush=True), lifeline=line)
        await asyncio.sleep(100)

asyncio.run(main())
"""


async def orphans(root: Path, kind: str) -> list[int]:
    """Kills a process that started a shell with a child of its own; returns the pids of these two."""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ORPHANS, kind, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert parent.stdout is not None
    pids = [int(word) for word in (await parent.stdout.readline()).split()]
    parent.kill()
    await parent.wait()
    return pids


@pytest.fixture
def root() -> Path:
    return Path(__file__).resolve().parents[3]


async def test_killed_parent_takes_its_child_along(root: Path) -> None:
    """When the agent is killed with -9, the kernel ends its children, without anybody's help."""
    shell, sleep = await orphans(root, "kernel alone")
    await eventually(lambda: not alive(shell), within=5)
    os.kill(sleep, signal.SIGKILL)


async def test_killed_parent_takes_all_descendants_along(root: Path) -> None:
    """With a lifeline, grandchildren go as well, and those that ignore SIGTERM after a while."""
    pids = await orphans(root, "lifeline")
    await eventually(lambda: not any(alive(pid) for pid in pids), within=10)


async def test_lifeline_leaves_the_stopped_alone(shell: Shell) -> None:
    """A group that was stopped in order is off the list: its number may belong to somebody else by then."""
    bystander = await shell.start("echo up; sleep 100")
    await shell.written()
    with lifeline() as line:
        line.add(bystander.pid)
        line.remove(bystander.pid)
    assert alive(bystander.pid)


async def test_lifeline_that_is_gone_breaks_nothing() -> None:
    """Programs are started and stopped although somebody killed the lifeline."""
    with lifeline() as line:
        await eventually(lambda: bool(children("lifeline.py")))
        found = children("lifeline.py")
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        await eventually(lambda: not any(alive(pid) for pid in found))
        process = await Process.start(Command(argv=("true",)), sink=lambda chunk: None, lifeline=line)
        assert (await process.wait()).clean
        await process.stop(grace=1)
