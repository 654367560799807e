"""Brings the mesh of the demo up, goes through the steps, takes it down, and says whether all of it held."""

import asyncio
import time
from collections.abc import Callable
from typing import Literal

from core.model.service import WorkloadKey
from core.model.workload import Explicit, Workload
from istioctl.checks import state as remains
from istioctl.demo.proof.record import Proven, json, lines, verdict
from istioctl.demo.proof.site import Failed, Site
from istioctl.demo.proof.steps import STEPS, Step
from istioctl.demo.screen import Plain
from istioctl.demo.settings import Settings
from istioctl.demo.show import run
from istioctl.demo.stage import Stage, served, stage
from istioctl.local.pods import Ground
from istioctl.output import say, show
from platforms.local.plan import Plan

READY_WITHIN = 15.0
"""Seconds from the start to the first whole page; what the demo promises."""

PATIENCE = 45.0
"""Seconds until a mesh that does not become ready is given up. Between the two it is a failure that tells how long."""

GONE_WITHIN = 3.0
"""Seconds from the end of the last step until nothing is left."""


STRANGER = Workload(
    key=WorkloadKey("nowhere", "stranger"), address="198.18.255.250", capture=Explicit(), role="gateway"
)
"""Somebody without a sidecar, near the workloads: in capture `redirect` a network of his own, captured by nobody."""


async def check(settings: Settings, *, form: Literal["text", "json"]) -> int:
    """The exit code. Raises `Misconfigured` when the mesh cannot run here."""
    prover = Prover(settings, tell=(lambda proven: None) if form == "json" else _show)
    await run(settings, Plain(), beside=prover.run)
    prover.ended()
    seconds = prover.elapsed()
    if form == "json":
        show(json(prover.results, capture=prover.capture, seconds=seconds))
    else:
        say(f"\n{verdict(prover.results, seconds=seconds)}")
    return 0 if prover.complete and all(each.passed for each in prover.results) else 1


def _show(proven: Proven) -> None:
    for line in lines(proven):
        show(line)


class Prover:
    """The steps and what came of them. `complete` when all were gone through, whatever came of them."""

    def __init__(self, settings: Settings, *, tell: Callable[[Proven], None]) -> None:
        self._settings = settings
        self._tell = tell
        self._began = time.monotonic()
        self._stopping = self._began
        self.results: list[Proven] = []
        self.complete = False
        self.capture: str = settings.capture

    def elapsed(self) -> float:
        return time.monotonic() - self._began

    async def run(self, settled: asyncio.Future[Plan], ground: Ground) -> None:
        found = await self._ready(settled)
        if found is not None:
            async with ground(STRANGER, None, found.plan.mesh) as outside:
                await self._prove(Site(found, outside=outside))

    async def _prove(self, site: Site) -> None:
        try:
            for step in STEPS:
                self._note(*await asyncio.to_thread(_proven, step, site))
            self.complete = True
        finally:
            site.leave()
            self._stopping = time.monotonic()

    async def _ready(self, settled: asyncio.Future[Plan]) -> Stage | None:
        """The first step, which all others need."""
        step = Step("the mesh is ready", f"a whole page within {READY_WITHIN:g} s of the start", lambda site: "")
        try:
            async with asyncio.timeout(PATIENCE):
                found = stage(self._settings, await settled)
                began = self.elapsed()
                waited = await served(found, tell=say)
        except TimeoutError:
            self._note(step, f"none after {PATIENCE:g} s", False, PATIENCE)
            return None
        took, self.capture = self.elapsed(), found.capture
        parts = {"its workloads": began, **waited}
        told = ", ".join(f"{what} {seconds:.1f} s" for what, seconds in parts.items())
        self._note(step, f"one after {took:.1f} s; waited for {told}", took <= READY_WITHIN, took)
        return found

    def ended(self) -> None:
        """The last step, when the mesh is down: that nothing is left."""
        took = time.monotonic() - self._stopping
        left = remains.gather(self._settings.state)
        names = [f"process {each.pid} ({each.command[:60]})" for each in left.leftovers]
        names += [f"files in {left.path}"] if left.files and not self._settings.keep else []
        step = Step("nothing is left", f"no process and no file after {GONE_WITHIN:g} s", lambda site: "")
        seen = f"{', '.join(names) or 'nothing'} after {took:.1f} s"
        self._note(step, seen, not names and took <= GONE_WITHIN, took)

    def _note(self, step: Step, seen: str, passed: bool, seconds: float) -> None:
        proven = Proven(title=step.title, expected=step.expected, seen=seen, passed=passed, seconds=round(seconds, 3))
        self.results.append(proven)
        self._tell(proven)


def _proven(step: Step, site: Site) -> tuple[Step, str, bool, float]:
    began = time.monotonic()
    try:
        seen, passed = step.prove(site), True
    except Failed as failure:
        seen, passed = str(failure), False
    return step, seen, passed, time.monotonic() - began
