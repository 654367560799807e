"""Which proxies live by a document: what the Manager says of generations, turned into who has acknowledged it."""

import time
from collections.abc import Callable, Mapping
from typing import Final, Literal

import msgspec

from core.errors import MeshError
from core.manager.status import Applied, MeshStatus, ProxyStatus
from core.model.config import ConfigKey

PAUSE: Final = 0.05
"""Seconds between two looks."""

State = Literal["ACKNOWLEDGED", "WAITING", "REFUSED"]


class At(msgspec.Struct, frozen=True):
    """How one proxy stands to a document; `reason` is Envoy's text when it refused."""

    workload: str
    state: State
    reason: str = ""


class Reach(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How far one document has come. `generation` 0: not yet in force; `refused`: out of force until it changes.

    `silent`: Managers that do not answer, and may have proxies.
    """

    kind: str
    namespace: str
    name: str
    revision: str
    generation: int
    acknowledged: bool
    refused: bool
    proxies: tuple[At, ...]
    silent: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"

    def those(self, state: State) -> list[At]:
        return [each for each in self.proxies if each.state == state]


Wanted = Mapping[ConfigKey, str]
"""Documents and the revision in which each is stored."""


def reaches(status: MeshStatus, wanted: Wanted) -> tuple[Reach, ...]:
    """One for each document, in their order."""
    applied: dict[ConfigKey, list[Applied]] = {}
    for each in status.progress.documents:
        applied.setdefault(each.document, []).append(each)
    return tuple(_reach(status, key, applied.get(key, []), revision=revision) for key, revision in wanted.items())


def _reach(status: MeshStatus, key: ConfigKey, applied: list[Applied], *, revision: str) -> Reach:
    """Of several Managers each has to have taken the document up, under a generation of its own."""
    reasons = {each.workload: each.refusal.reason for each in status.held if each.document == key}
    generations = {each.manager: each.generation for each in applied if each.revision == revision}
    in_force = generations.keys() >= set(status.managers)
    generation = max(generations.values()) if in_force else 0
    proxies = tuple(
        _at(proxy, key, generations.get(proxy.manager, 0), reasons.get(proxy.workload)) for proxy in status.proxies
    )
    return Reach(
        kind=key.kind,
        namespace=key.namespace,
        name=key.name,
        revision=revision,
        generation=generation,
        acknowledged=in_force
        and not (status.progress.trying or status.silent)
        and all(each.state == "ACKNOWLEDGED" for each in proxies),
        refused=in_force and bool(reasons),
        proxies=proxies,
        silent=status.silent,
    )


def _at(proxy: ProxyStatus, key: ConfigKey, generation: int, held: str | None) -> At:
    own = (each.reason for each in proxy.refused if each.origin and each.origin.config == key)
    reason = held if held is not None else next(own, None)
    if generation and reason is not None:
        return At(str(proxy.workload), "REFUSED", reason)
    # What it refuses of several documents together may be this one: that is being found out.
    doubtful = any(each.origin is None for each in proxy.refused)
    has = bool(generation) and proxy.generation >= generation and not doubtful
    return At(str(proxy.workload), "ACKNOWLEDGED" if has else "WAITING")


def wait(look: Callable[[], tuple[Reach, ...]], *, seconds: float) -> tuple[Reach, ...]:
    """Looks until every document is acknowledged or one is refused. Raises `MeshError` for that, and for time."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        for each in found:
            if each.refused:
                raise _refused(each)
        if all(each.acknowledged for each in found):
            return found
        if time.monotonic() >= deadline:
            raise _late(next(each for each in found if not each.acknowledged), seconds)
        time.sleep(PAUSE)


def _refused(reach: Reach) -> MeshError:
    who = ", ".join(f"{each.workload}: {' '.join(each.reason.split())}" for each in reach.those("REFUSED"))
    text = f"{reach} is stored, and out of force: a proxy refused it ({who or 'which is not connected any more'})"
    return MeshError(text, fix="correct it and apply again; until then its last good version is in force")


def _late(reach: Reach, seconds: float) -> MeshError:
    late = [each.workload for each in reach.those("WAITING")]
    who = f"{', '.join(late)} had not acknowledged it" if late else "the Manager had not settled it"
    if reach.silent:
        names = ", ".join(f"manager/{number}" for number in reach.silent)
        who = f"nothing was known of the proxies at {names}, which did not answer"
    text = f"{reach} is stored, but after {seconds:g} s {who} ({len(late)} of {len(reach.proxies)} proxies)"
    look = f"istioctl status {reach.kind.lower()} {reach.name} -n {reach.namespace}"
    return MeshError(text, fix=f"{look} shows how far it is; istioctl proxy-status shows the proxies")
