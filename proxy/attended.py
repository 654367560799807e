"""The agent as people run it: says on stderr what happens, forwards signals, ends with the application's exit code."""

import asyncio
import contextlib
import os
import signal
import sys

from core.errors import MeshError
from proxy.agent import Agent, Host
from proxy.lifeline import lifeline
from proxy.machine import first, stop_signal
from proxy.proxyless import agent_for
from proxy.reports import Assignment
from proxy.state import Phase, State

FORWARDED = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
REPEAT = 5.0
"""Seconds between two sentences about what is waited for."""
_TOLD = {
    "certificate.missing": "waiting for a certificate: {reason} {fix}",
    "certificate.renewal_failed": "no new certificate: {reason} {fix} The old one serves on.",
    "certificate.restored": "the files of the certificate had been changed; they are restored",
    "certificate.expired": "the certificate has expired: {reason} {fix}",
    "envoy.ready": "ready",
    "envoy.exited": "Envoy ended ({how}). Starting it again. {reason} {fix}",
    "envoy.unstartable": "Envoy cannot start: {reason} {fix}",
    "envoy.port_taken": "{reason} {fix}",
    "envoy.draining": "draining",
    "agent.port_taken": "{reason} {fix}",
    "application.unstartable": "{reason} {fix}",
    "application.ended": "the application ended ({how})",
}


class Surroundings:
    """What the agent's events do here. `application` is its process while it runs, `status` how it ended."""

    def __init__(self) -> None:
        self.application: int | None = None
        self.status = 0

    def event(self, event: str, /, **fields: object) -> None:
        if event == "application.started" and isinstance(pid := fields["pid"], int):
            self.application = pid
        elif event in ("application.ended", "application.stopped") and isinstance(status := fields["status"], int):
            self.application, self.status = None, status
        if event in _TOLD:
            spoken = {name: _sentence(str(fields.get(name, ""))) for name in ("reason", "fix")}
            say(_TOLD[event].format_map(_Fields(fields | spoken)))

    def forward(self, number: signal.Signals) -> None:
        if self.application is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.application, number)


async def run(work: Assignment) -> int:
    """Until the application has ended, or a signal came. The exit code: the application's, or 128 + its signal."""
    around = Surroundings()
    with lifeline() as line:
        host = Host(envoy=work.envoy, lifeline=line, log=around.event, pace=work.pace)
        agent = agent_for(work, host)
        stop = stop_signal(agent)
        for number in FORWARDED:
            asyncio.get_running_loop().add_signal_handler(number, around.forward, number)
        async with agent:
            ended = asyncio.create_task(agent.wait_application())
            waiting = asyncio.create_task(_tell_waiting(agent))
            await first(stop.wait(), agent.wait_quit(), asyncio.wait([ended]))
            waiting.cancel()
            if ended.done():
                agent.hurry()  # nobody is there to answer calls
            ended.cancel()
    return around.status if around.status >= 0 else 128 - around.status


async def _tell_waiting(agent: Agent) -> None:
    """An Envoy with a certificate but without configuration: no Manager answers it."""
    while True:
        await asyncio.sleep(REPEAT)
        if agent.state.phase is Phase.STARTING and _has_what_it_needs(agent.state):
            with contextlib.suppress(MeshError):
                say(f"waiting for the Manager to configure Envoy ({await agent.admin.state()})")


def _has_what_it_needs(state: State) -> bool:
    return state.certificate is not None and state.pid is not None


def say(text: str) -> None:
    sys.stderr.write(f"istio-agent: {' '.join(text.split())}\n")


def complain(error: str, fix: str) -> None:
    sys.stderr.write(f"error: {error}\n" + (f"fix:   {fix}\n" if fix else ""))


def _sentence(text: str) -> str:
    return f"{text}." if text and text[-1] not in ".!?" else text


class _Fields(dict[str, object]):
    def __missing__(self, key: str) -> str:
        return ""
