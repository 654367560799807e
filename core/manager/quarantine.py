"""One bad document must not hold up the good ones: what a proxy refuses is taken out of force, and tried no more.

A large resource is made of many documents. When several changed at once and one spoils it, all of those are taken out,
and come back by halves until the guilty ones are alone. A document that changes is tried again.
"""

import asyncio
from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Protocol

import msgspec

from core.diagnostics import Diagnostic
from core.manager.pusher import Pusher
from core.manager.refusals import Blame
from core.manager.status import Held
from core.manager.xds.resource import ResourceType
from core.model.config import ConfigKey
from core.model.service import WorkloadKey

_PATIENCE = 2.0
"""Seconds that proxies get to answer before the next suspects are tried."""


Place = tuple[WorkloadKey, ResourceType, str]
"""What is refused, and by whom."""


class Bench(Protocol):
    """Where proxies are heard."""

    async def answered(self, *, within: float) -> None:
        """Returns when all that changed is sent and answered, at the latest after `within` seconds."""
        ...

    def blames(self) -> tuple[Blame, ...]:
        """What is refused at this moment."""
        ...


class Quarantine:
    """Owns the blames that led to a document being out of force, and knows which are so for a trial."""

    def __init__(self, pusher: Pusher, *, trusted: Callable[[ConfigKey], bool] = lambda key: False) -> None:
        """`trusted`: proxies took the document as it is before anybody here knew of it; it is suspected last."""
        self._pusher = pusher
        self._trusted = trusted
        self._held: dict[ConfigKey, Blame] = {}
        self._out: set[ConfigKey] = set()
        self._acquitted: dict[Place, set[ConfigKey]] = {}
        self._doubt = asyncio.Event()
        self._trying = False
        self._accused: Callable[[], None] = lambda: None
        self._changed: Callable[[], None] = lambda: None
        self._found: Callable[[ConfigKey], None] = lambda key: None

    def on_blame(self, accused: Callable[[], None]) -> None:
        """Have `accused` called before a blame is looked into, so that somebody notes what is good until then."""
        self._accused = accused

    def on_change(self, changed: Callable[[], None]) -> None:
        """Have `changed` called when documents went out of force or came back, so that somebody settles."""
        self._changed = changed

    def on_verdict(self, found: Callable[[ConfigKey], None]) -> None:
        """Have `found` called with a document that was found guilty."""
        self._found = found

    @property
    def calm(self) -> bool:
        """Nothing is refused of which it is not known whose fault that is."""
        return not self._doubt.is_set() and not self._trying

    def blame(self, blame: Blame) -> None:
        """A proxy refused something. Nothing happens when no document is behind it."""
        self._accused()
        if len(blame.suspects) == 1:
            self._hold(blame.suspects[0], blame)
        elif blame.suspects:
            self._doubt.set()

    def _hold(self, key: ConfigKey, blame: Blame) -> None:
        self._held.setdefault(key, blame)
        self._out.discard(key)
        self._pusher.revert(key)
        self._changed()
        self._found(key)

    def forgive(self, key: ConfigKey) -> None:
        """The document changed, or is gone."""
        self._held.pop(key, None)
        self._out.discard(key)
        for acquitted in self._acquitted.values():
            acquitted.discard(key)

    def diagnostics(self, key: ConfigKey) -> tuple[Diagnostic, ...]:
        blame = self._held.get(key)
        return () if blame is None else (blame.diagnostic(key),)

    def held(self) -> tuple[Held, ...]:
        """The documents that were found guilty and have not changed since."""
        return tuple(
            Held(document=key, workload=blame.workload, refusal=blame.refusal())
            for key, blame in sorted(self._held.items(), key=itemgetter(0))
        )

    def blames(self) -> dict[ConfigKey, Blame]:
        """Why each of them is."""
        return dict(self._held)

    # -- trials --------------------------------------------------------------------------------------------------------

    async def try_suspects(self, bench: Bench) -> None:
        """Holds the trials, one after the other, until cancelled."""
        while True:
            await self._doubt.wait()
            self._doubt.clear()
            self._trying = True
            # By then the guilty may have been refused alone as well, in a smaller resource: then no trial is needed.
            await self._settled(bench)
            if suspects := self._suspects(bench):
                await self._try(suspects, bench)
            self._trying = False

    async def _try(self, suspects: list[ConfigKey], bench: Bench) -> None:
        before = _places(bench)
        self._take_out(suspects)
        await self._settled(bench)
        innocent = before & _places(bench)
        self._acquitted = {place: keys for place, keys in self._acquitted.items() if place in innocent}
        for place in innocent:
            # It is refused without them, too.
            self._acquitted.setdefault(place, set()).update(suspects)
        pile = _halves(suspects)
        while pile:
            tried = pile.pop()
            await self._bring_back(tried, bench)
            guilty = self._suspects(bench)
            if len(tried) == 1 and guilty == tried:
                self._convict(tried[0], bench)
            elif guilty:
                self._take_out(guilty)
                pile += _halves(guilty)

    def _convict(self, key: ConfigKey, bench: Bench) -> None:
        """It came back alone, and what was taken without it is refused again."""
        blame = next(blame for blame in bench.blames() if key in blame.suspects)
        self._hold(key, msgspec.structs.replace(blame, suspects=(key,)))

    def _suspects(self, bench: Bench) -> list[ConfigKey]:
        """Of what is refused and made of several documents that may be the reason: those of which nothing is known."""
        doubtful = (blame for blame in bench.blames() if len(blame.suspects) > 1)
        keys = (key for b in doubtful for key in b.suspects if key not in self._acquitted.get(_place(b), ()))
        found = [key for key in dict.fromkeys(keys) if key not in self._held]
        return [key for key in found if not self._trusted(key)] or found

    def _take_out(self, keys: Iterable[ConfigKey]) -> None:
        for key in keys:
            self._out.add(key)
            self._pusher.revert(key)

    async def _bring_back(self, keys: Iterable[ConfigKey], bench: Bench) -> None:
        """Not those that were found guilty, changed or deleted meanwhile."""
        for key in self._out.intersection(keys):
            self._out.discard(key)
            self._pusher.restore(key)
        await self._settled(bench)

    async def _settled(self, bench: Bench) -> None:
        self._changed()
        await bench.answered(within=_PATIENCE)


def _place(blame: Blame) -> Place:
    return blame.workload, blame.type, blame.resource


def _places(bench: Bench) -> set[Place]:
    return {_place(blame) for blame in bench.blames()}


def _halves(keys: list[ConfigKey]) -> list[list[ConfigKey]]:
    middle = len(keys) // 2
    return [half for half in (keys[middle:], keys[:middle]) if half]
