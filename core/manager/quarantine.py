"""One bad document must not hold up the good ones: what a proxy refuses is taken out of force, and tried no more.

A large resource is made of many documents. When several changed at once and one spoils it, all of those are taken out,
and come back by halves until the guilty ones are alone. A document that changes is tried again.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from core.diagnostics import Diagnostic
from core.manager.pusher import Pusher
from core.manager.refusals import Blame
from core.model.config import ConfigKey

_PATIENCE = 2.0
"""Seconds that proxies get to answer before the next suspects are tried."""


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

    def __init__(self, pusher: Pusher) -> None:
        self._pusher = pusher
        self._held: dict[ConfigKey, Blame] = {}
        self._out: set[ConfigKey] = set()
        self._doubt = asyncio.Event()
        self._changed: Callable[[], None] = lambda: None
        self._found: Callable[[ConfigKey], None] = lambda key: None

    def on_change(self, changed: Callable[[], None]) -> None:
        """Have `changed` called when documents went out of force or came back, so that somebody settles."""
        self._changed = changed

    def on_verdict(self, found: Callable[[ConfigKey], None]) -> None:
        """Have `found` called with a document that was found guilty."""
        self._found = found

    @property
    def calm(self) -> bool:
        """Nothing is refused of which it is not known whose fault that is."""
        return not self._doubt.is_set() and not self._out

    def blame(self, blame: Blame) -> None:
        """A proxy refused something. Nothing happens when no document is behind it."""
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

    def diagnostics(self, key: ConfigKey) -> tuple[Diagnostic, ...]:
        blame = self._held.get(key)
        return () if blame is None else (blame.diagnostic(key),)

    # -- trials --------------------------------------------------------------------------------------------------------

    async def try_suspects(self, bench: Bench) -> None:
        """Holds the trials, one after the other, until cancelled."""
        while True:
            await self._doubt.wait()
            # By then the guilty may have been refused alone as well, in a smaller resource: then no trial is needed.
            await self._settled(bench)
            self._doubt.clear()
            if suspects := self._suspects(bench):
                await self._try(suspects, bench)

    async def _try(self, suspects: list[ConfigKey], bench: Bench) -> None:
        refused = {_place(blame) for blame in bench.blames()}
        await self._take_out(suspects, bench)
        if refused & {_place(blame) for blame in bench.blames()}:
            # It is refused without them, too: not their fault.
            await self._bring_back(suspects, bench)
            return
        pile = _halves(suspects)
        while pile:
            await self._bring_back(pile.pop(), bench)
            if guilty := self._suspects(bench):
                await self._take_out(guilty, bench)
                pile += _halves(guilty)

    def _suspects(self, bench: Bench) -> list[ConfigKey]:
        """Of what is refused and made of several documents that may be the reason; who is held is none of them."""
        doubtful = (blame.suspects for blame in bench.blames() if len(blame.suspects) > 1)
        return [key for key in dict.fromkeys(key for keys in doubtful for key in keys) if key not in self._held]

    async def _take_out(self, keys: Iterable[ConfigKey], bench: Bench) -> None:
        for key in keys:
            self._out.add(key)
            self._pusher.revert(key)
        await self._settled(bench)

    async def _bring_back(self, keys: Iterable[ConfigKey], bench: Bench) -> None:
        """Not those that were found guilty, changed or deleted meanwhile."""
        for key in self._out.intersection(keys):
            self._out.discard(key)
            self._pusher.restore(key)
        await self._settled(bench)

    async def _settled(self, bench: Bench) -> None:
        self._changed()
        await bench.answered(within=_PATIENCE)


def _place(blame: Blame) -> tuple[object, ...]:
    return blame.workload, blame.type, blame.resource


def _halves(keys: list[ConfigKey]) -> list[list[ConfigKey]]:
    middle = len(keys) // 2
    return [half for half in (keys[middle:], keys[:middle]) if half]
