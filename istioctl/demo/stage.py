"""The mesh of the demo while it runs: where its parts are, and when a caller can have the page."""

import asyncio
import math
import shlex
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from core.model.identity import SpiffeId
from core.model.service import WorkloadKey
from core.model.workload import Redirected
from istioctl.calling import istioctl_for
from istioctl.demo.entrance import Entrance, call
from istioctl.demo.settings import Settings
from platforms.local.plan import Plan
from platforms.local.plan_gateway import DOOR
from platforms.local.settings import CaptureMode

WHOLE = frozenset({"details", "reviews"})
"""The parts of a page; one that failed says so in `error`."""


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """`entrance` is the gateway's door on this host; `capture` how traffic gets into the sidecars."""

    state: Path
    plan: Plan
    entrance: Entrance

    @property
    def capture(self) -> CaptureMode:
        is_redirected = any(isinstance(each.capture, Redirected) for each in self.plan.workloads)
        return "redirect" if is_redirected else "none"

    @property
    def workloads(self) -> tuple[WorkloadKey, ...]:
        return tuple(workload.key for workload in self.plan.workloads)

    @property
    def versions(self) -> tuple[tuple[str, str], ...]:
        """Service and version of everything that can be called."""
        labels = {workload.key: workload.labels for workload in self.plan.workloads}
        names = {service.key: service.name for service in self.plan.services}
        found = (
            (names[each.key.service], labels[each.workload].get("version") or "")
            for each in self.plan.instances
            if each.workload is not None
        )
        return tuple(dict.fromkeys(found))

    def identity_of(self, name: str) -> str:
        """The SPIFFE id of the workload called `name`."""
        found = next(each for each in self.plan.workloads if each.key.name == name)
        domain, account = self.plan.mesh.trust_domain, found.service_account
        return str(SpiffeId.of(domain, namespace=found.key.namespace, service_account=account))

    @property
    def curl(self) -> str:
        return shlex.join(("curl", *self.entrance.curl))


def stage(settings: Settings, plan: Plan) -> Stage:
    """What there is in `plan`."""
    door = next(port for each in plan.workloads if each.role == "gateway" for port in each.ports)
    entrance = Entrance(url=f"http://{DOOR}:{door.public or door.target}/")
    return Stage(state=settings.state, plan=plan, entrance=entrance)


LONG = 20.0
"""Seconds after which nobody should be left waiting without a word."""

LOOK = 1.0
"""Seconds for one look at the page while it is waited for; also how long Ctrl-C may have to wait for that."""


async def served(stage: Stage, *, tell: Callable[[str], None]) -> dict[str, float]:
    """Returns when the page is whole; says what it waits for, as that changes. No time limit.

    What it waited for, with the seconds that each took.
    """
    said, pause, worried = "", 0.02, time.monotonic() + LONG
    waited: dict[str, float] = {}
    began = time.monotonic()
    while missing := await asyncio.to_thread(_missing, stage.entrance):
        if time.monotonic() > worried:
            tell(f"{'demo':<28} this takes long; what is wrong, this may tell: {istioctl_for(stage.state)} check")
            worried = math.inf
        if missing != said:
            tell(f"{'demo':<28} waiting for the page: {missing}")
            said = missing
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.25)
        began, last = time.monotonic(), began
        waited[missing] = waited.get(missing, 0.0) + began - last
    return waited


def _missing(entrance: Entrance) -> str:
    """What keeps a page from being whole; "" when nothing does."""
    answer = call(entrance, timeout=LOOK)
    if answer.status == 0:
        return f"no answer ({answer.body.decode(errors='replace')})"
    if answer.status != 200:
        return f"HTTP {answer.status}"
    return ", ".join(broken(answer.json()))


def broken(page: dict[str, object]) -> list[str]:
    """The parts of a page that are missing from it."""
    return [part for part in sorted(WHOLE) if not isinstance(found := page.get(part), dict) or "error" in found]
