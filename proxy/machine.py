"""The agent as a process for other programs: an `Assignment` on stdin, reports on stdout, until a signal.

SIGTERM ends it in order, after open connections; SIGINT, or a second signal, without waiting for them.
"""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable

from core.errors import MeshError
from proxy.agent import Agent, Host
from proxy.proxyless import agent_for
from proxy.reports import Assignment, Became, Failed, Happened, Report, Said, assignment, encode

Send = Callable[[Report], None]


def main() -> int:
    return asyncio.run(run(assignment(sys.stdin.buffer.read()), send=_print))


def _print(report: Report) -> None:
    """Nobody to tell is no reason to stop: whoever ends this process says so by a signal."""
    with contextlib.suppress(OSError):
        sys.stdout.buffer.write(encode(report) + b"\n")
        sys.stdout.buffer.flush()


async def run(work: Assignment, *, send: Send) -> int:
    host = Host(
        envoy=work.envoy,
        log=lambda event, /, **fields: send(Happened(event, fields)),
        output=lambda name, line, /: send(Said(line)),
        pace=work.pace,
    )
    agent = agent_for(work, host)
    stop = stop_signal(agent)
    try:
        async with agent, asyncio.TaskGroup() as group:
            telling = group.create_task(_tell(agent, send))
            await first(stop.wait(), agent.wait_quit())
            telling.cancel()
    except MeshError as error:
        send(Failed(str(error), error.fix))
        return 1
    return 0


def stop_signal(agent: Agent) -> asyncio.Event:
    """Set by SIGTERM and SIGINT; the latter, and any after the first, also makes the agent hurry."""
    stop = asyncio.Event()

    def take(number: signal.Signals) -> None:
        if stop.is_set() or number is signal.SIGINT:
            agent.hurry()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, take, number)
    return stop


async def first(*works: Awaitable[object]) -> None:
    """Returns when one of them is over."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _tell(agent: Agent, send: Send) -> None:
    known = agent.state
    while True:
        send(Became(known))
        known = await agent.watched.until(lambda state, known=known: state is not known)  # type: ignore[misc]
