"""All checks, at the same time: the slowest of them is what somebody waits for."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import msgspec

from istioctl.checks import machine, mesh, redirect, state
from istioctl.checks.verdict import Category, Outcome, Verdict, good

Capture = Literal["auto", "none", "redirect"]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """`capture`: "auto" means that `redirect` would be nice, "none" that nobody wants it. `envoy` is a path."""

    state: Path
    capture: Capture = "auto"
    envoy: str = ""


def look(wanted: Wanted) -> tuple[Category, ...]:
    """Blocks for a second or so."""
    looks: list[Callable[[], Category | None]] = [
        lambda: Category(name=f"This machine ({machine.system()})", checks=machine.judge(machine.gather(wanted.envoy))),
        lambda: _redirect(wanted.capture),
        lambda: Category(name="The state directory", checks=state.judge(state.gather(wanted.state))),
        lambda: _mesh(wanted.state),
    ]
    with ThreadPoolExecutor(len(looks)) as pool:
        found = [task.result() for task in [pool.submit(each) for each in looks]]
    return tuple(each for each in found if each)


def _redirect(capture: Capture) -> Category | None:
    """What is not asked for by name is no failure."""
    if capture == "none":
        return None
    checks = redirect.judge(redirect.gather())
    if capture == "auto":
        checks = tuple(map(_softened, checks))
    return Category(name="Capture redirect (network namespaces)", checks=checks)


def _softened(check: Verdict) -> Verdict:
    if check.outcome is not Outcome.FAILED:
        return check
    reason = f"{check.reason}; without it, capture none is what this machine can do"
    return msgspec.structs.replace(check, outcome=Outcome.WARNING, reason=reason)


def _mesh(path: Path) -> Category:
    if not state.gather(path).held and not state.answers(path):
        return Category(name="The running mesh", checks=(good(f"none runs with the state directory {path}"),))
    return Category(name="The running mesh", checks=mesh.judge(mesh.gather(path)))
