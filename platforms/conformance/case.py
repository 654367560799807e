"""What a case is, what it is given, and how one is run. No pytest here: cases also run by themselves."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import StrEnum

import msgspec

from core.ports import ConfigStore, Elector, Platform, VersionedStore
from platforms.conformance.harness import Budgets, Harness, Unsupported
from platforms.conformance.view import View, registry_of, watching

Check = Callable[["Subject"], Awaitable[None]]

_LONGEST = 60.0
_NAME = re.compile(r"([a-z])([0-9]+)_")


class Result(StrEnum):
    PASS = "pass"
    FAIL = "FAIL"
    SKIP = "skip"


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One behaviour. `sentence` says what must be true; one that is `required` may not be skipped."""

    id: str
    sentence: str
    check: Check
    required: bool = False


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How one case ended, why, and after how many seconds."""

    case: Case
    result: Result
    reason: str = ""
    seconds: float = 0.0


class Subject:
    """What a case works with: the world of a harness, and its platform opened and watched."""

    def __init__(self, harness: Harness) -> None:
        self.world = harness
        self.budgets: Budgets = harness.budgets

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[View]:
        """The platform opened, and a view of it that has seen `Synced`."""
        async with self.opened() as (_, view):
            await self.synced(view)
            yield view

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[Platform, View]]:
        """The platform opened, and a view of it that may not have seen anything yet."""
        async with self.world.open() as platform, watching(registry_of(platform)) as view:
            yield platform, view

    @contextlib.asynccontextmanager
    async def store(self) -> AsyncIterator[ConfigStore]:
        """The platform's config store."""
        async with self.world.open() as platform:
            if platform.config is None:
                raise Unsupported("this platform keeps no configuration")
            yield platform.config

    @contextlib.asynccontextmanager
    async def versioned(self) -> AsyncIterator[VersionedStore]:
        """The platform's config store, when it has one sequence of revisions."""
        async with self.store() as store:
            if not isinstance(store, VersionedStore):
                raise Unsupported("this store knows no sequence of changes")
            yield store

    @contextlib.asynccontextmanager
    async def elector(self) -> AsyncIterator[Elector]:
        async with self.world.open() as platform:
            if platform.elector is None:
                raise Unsupported("this platform elects nobody")
            yield platform.elector

    async def synced(self, view: View) -> None:
        await view.eventually(lambda v: v.synced > 0, self.budgets.sync, "the watch is told Synced")

    async def soon(self, view: View, predicate: Callable[[View], bool], what: str) -> None:
        """`predicate` holds within the budget for one event."""
        await view.eventually(predicate, self.budgets.event, what)


def case(check: Check, *, required: bool = False) -> Case:
    """Of a function named `b4_…` whose docstring is the sentence."""
    name = getattr(check, "__name__", "")
    match = _NAME.match(name)
    assert match, f"{name} is not named like a case"
    sentence = " ".join((check.__doc__ or "").split())
    return Case(id=f"{match[1].upper()}{match[2]}", sentence=sentence, check=check, required=required)


def required(check: Check) -> Case:
    """A case that no platform may skip."""
    return case(check, required=True)


async def run(chosen: Case, harness: Harness) -> Outcome:
    """Runs one case on a fresh world of `harness`. A failure is an outcome, not an exception."""
    began = time.monotonic()
    try:
        await _check(chosen, harness)
    except Unsupported as unsupported:
        return Outcome(case=chosen, result=Result.SKIP, reason=str(unsupported), seconds=time.monotonic() - began)
    except Exception as error:  # whatever a platform under test raises is that platform's failure
        reason = f"{type(error).__name__}: {error}"
        return Outcome(case=chosen, result=Result.FAIL, reason=reason, seconds=time.monotonic() - began)
    return Outcome(case=chosen, result=Result.PASS, seconds=time.monotonic() - began)


async def _check(chosen: Case, harness: Harness) -> None:
    await harness.start()
    try:
        async with asyncio.timeout(_LONGEST):
            await chosen.check(Subject(harness))
    finally:
        await harness.stop()
