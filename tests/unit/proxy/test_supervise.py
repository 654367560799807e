"""When a program is started again, and how soon."""

import asyncio
from random import Random

import pytest

from core.errors import Misconfigured
from proxy.application import Application
from proxy.process import Command, Exit, Process
from proxy.supervise import Pace, Restart, Supervisor
from proxy.testing import Events, eventually
from proxy.testing.processes import alive
from proxy.watched import Watched

QUICK = Pace(base=0.01, cap=0.04, healthy=60)


def supervised(script: str, *, restart: Restart, log: Events, pace: Pace = QUICK) -> Supervisor:
    program = Application(Command(argv=("sh", "-c", script)), workload="a.default", output=lambda name, line: None)
    return Supervisor(program, restart=restart, log=log, pace=pace, random=Random(1))


def test_first_restart_comes_at_once() -> None:
    """After a single failure there is no wait."""
    assert Pace().wait(0, Random(1)) == 0


def test_waits_grow_up_to_a_cap_with_jitter() -> None:
    """Each wait is between half of its bound and the bound, which doubles up to the cap; no two are the same."""
    pace, random = Pace(base=1, cap=8), Random(1)
    bounds = [1, 2, 4, 8, 8, 8]
    waits = [pace.wait(failures, random) for failures in range(1, 7)]
    assert all(bound / 2 <= wait <= bound for wait, bound in zip(waits, bounds, strict=True))
    assert len(set(waits)) == len(waits)
    assert pace.wait(10_000, random) <= 8


async def test_crash_loop_backs_off() -> None:
    """A program that always fails is started again and again, ever more slowly."""
    log = Events()
    running = asyncio.create_task(supervised("exit 4", restart=Restart.ALWAYS, log=log).run(grace=1))
    await log.take("application.exited", count=4)
    running.cancel()
    await asyncio.wait([running])
    waits = [event["restart_in"] for event in log.named("application.exited")][:4]
    assert waits[0] == 0
    assert 0.005 <= waits[1] <= 0.01 <= waits[2] <= 0.02 <= waits[3] <= 0.04  # type: ignore[operator]
    assert log.named("application.exited")[0]["how"] == "exit code 4"


async def test_healthy_time_clears_the_record() -> None:
    """A program that ran long enough is restarted at once, however often it failed before."""
    log = Events()
    pace = Pace(base=0.01, cap=0.01, healthy=0.0)
    running = asyncio.create_task(supervised("exit 1", restart=Restart.ALWAYS, log=log, pace=pace).run(grace=1))
    await log.take("application.exited", count=3)
    running.cancel()
    await asyncio.wait([running])
    assert [event["restart_in"] for event in log.named("application.exited")][:3] == [0, 0, 0]


@pytest.mark.parametrize(
    ("restart", "code", "again"),
    [
        (Restart.NEVER, 5, False),
        (Restart.ON_FAILURE, 0, False),
        (Restart.ON_FAILURE, 5, True),
        (Restart.ALWAYS, 0, True),
    ],
)
async def test_policies(restart: Restart, code: int, again: bool) -> None:
    """The policy decides whether an end is the last; the exit code of the last is handed back."""
    log = Events()
    running = asyncio.create_task(supervised(f"exit {code}", restart=restart, log=log).run(grace=1))
    if again:
        await log.take("application.started", count=2)
        running.cancel()
        await asyncio.wait([running])
    else:
        assert await running == Exit(code)
        assert log.named("application.ended")[0]["status"] == code


async def test_nothing_is_left_of_a_life() -> None:
    """What a program leaves running when it ends is ended before it is started again."""
    lines: list[str] = []
    command = Command(argv=("sh", "-c", "sleep 100 & echo $!"))
    program = Application(command, workload="a.default", output=lambda name, line: lines.append(line))
    await Supervisor(program, restart=Restart.NEVER, log=Events(), pace=QUICK).run(grace=60)
    assert not alive(int(lines[0]))


async def test_cancelling_stops_the_program() -> None:
    """Cancelling the supervision stops the program and says so; nothing is started after that."""
    log = Events()
    running = asyncio.create_task(supervised("sleep 100", restart=Restart.ALWAYS, log=log).run(grace=5))
    await log.take("application.started")
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert [event for _, event, _ in log.all] == ["application.started", "application.stopped"]


class Missing:
    """A program whose file is gone."""

    name = "envoy"

    async def start(self) -> Process:
        raise Misconfigured("no program envoy to run", fix="install it")

    async def attend(self, process: Process) -> None:
        raise AssertionError

    async def examine(self, exit: Exit) -> dict[str, object]:
        return {}


async def test_program_that_vanished() -> None:
    """A program that can no longer be started is a failure like others: told, and tried again."""
    log = Events()
    supervisor = Supervisor(Missing(), restart=Restart.ON_FAILURE, log=log, pace=QUICK)
    running = asyncio.create_task(supervisor.run(grace=1))
    await log.take("envoy.exited", count=2)
    running.cancel()
    await asyncio.wait([running])
    assert log.named("envoy.unstartable")[0] == {"reason": "no program envoy to run", "fix": "install it"}
    assert log.named("envoy.exited")[0]["status"] == 127


async def test_watched_value() -> None:
    """Whoever waits gets the first value that passes, also one that is there already."""
    watched = Watched(1)
    assert await watched.until(lambda value: value == 1) == 1
    waiting = asyncio.create_task(watched.until(lambda value: value > 2))
    watched.set(2)
    await asyncio.sleep(0)
    watched.set(3)
    await eventually(waiting.done, within=2)
    assert waiting.result() == 3
