"""What all Managers of a state directory say together; each answers for the proxies that are connected to it.

Not for what they have to agree on: that is in the store, or in files that they share.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from core.manager.api import OWN, SOCKET
from core.manager.paths import homes, numbered
from core.manager.settings import Settings
from core.manager.status import Applied, Held, MeshStatus, Progress, ProxyStatus

PATIENCE: Final = 1.0
"""Seconds for the answer of another Manager: it is on this machine, and may be gone."""

LEFT_WITHIN: Final = 20.0
"""Seconds after which no proxy is at a Manager that hangs: they find out by pings (`proxy.bootstrap`)."""

_QUESTION: Final = f"GET /status?{OWN} HTTP/1.0\r\nhost: manager\r\n\r\n".encode()


class Peers:
    """The Managers beside number `settings.number`. `clock`: seconds that go on."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._silent: dict[int, float] = {}

    async def status(self, own: MeshStatus) -> MeshStatus:
        """Of all that answer; `own` is what this one knows."""
        if self._settings.managers == 1:
            return own
        state, this = self._settings.state, self._settings.number
        others = {numbered(state, home): home / SOCKET for home in homes(state) if home != self._settings.home}
        said = dict(zip(others, await asyncio.gather(*map(_status, others.values())), strict=True))
        found = {this: own, **{number: status for number, status in said.items() if isinstance(status, MeshStatus)}}
        silent = self._hanging({number for number, status in said.items() if isinstance(status, TimeoutError)})
        return replace(merged(dict(sorted(found.items()))), silent=silent)

    def _hanging(self, silent: set[int]) -> tuple[int, ...]:
        """Of the silent ones those that may still have proxies."""
        now = self._clock()
        self._silent = {number: self._silent.get(number, now) for number in silent}
        return tuple(sorted(number for number, since in self._silent.items() if now - since < LEFT_WITHIN))


async def _status(path: Path) -> MeshStatus | Exception:
    """What keeps it from saying anything: whoever was connected to one that is gone moves on, at one that hangs not."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await _ask(path)
    except (OSError, msgspec.DecodeError) as error:  # TimeoutError is one, too
        return error


async def _ask(path: Path) -> MeshStatus:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(_QUESTION)
        _, _, body = (await reader.read()).partition(b"\r\n\r\n")
        return msgspec.json.decode(body, type=MeshStatus)
    finally:
        writer.close()


def merged(found: Mapping[int, MeshStatus]) -> MeshStatus:
    """What Managers, by their numbers, say as one: a proxy once, where it came to last; a held document once."""
    every = found.values()
    return MeshStatus(
        proxies=tuple(
            _proxies(replace(each, manager=number) for number, status in found.items() for each in status.proxies)
        ),
        absent=tuple(sorted(set.intersection(*(set(status.absent) for status in every)))) if found else (),
        held=_held(each for status in every for each in status.held),
        progress=Progress(
            generation=max((status.progress.generation for status in every), default=0),
            trying=any(status.progress.trying for status in every),
            resting=all(status.progress.resting for status in every),
            unwell=max((status.progress.unwell for status in every), default=0),
            documents=_documents(found),
        ),
        managers=tuple(found),
    )


def _proxies(found: Iterable[ProxyStatus]) -> Iterator[ProxyStatus]:
    """While a proxy moves, the Manager that it left may not have noticed."""
    for _, same in groupby(sorted(found, key=attrgetter("workload")), key=attrgetter("workload")):
        yield max(same, key=attrgetter("connected_since"))


def _held(found: Iterable[Held]) -> tuple[Held, ...]:
    first: dict[object, Held] = {}
    for each in found:
        first.setdefault(each.document, each)
    return tuple(sorted(first.values(), key=attrgetter("document")))


def _documents(found: Mapping[int, MeshStatus]) -> tuple[Applied, ...]:
    every = (replace(each, manager=number) for number in found for each in found[number].progress.documents)
    return tuple(sorted(every, key=attrgetter("document", "manager")))
