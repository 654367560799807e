"""Which proxies live by a document: what the Manager says of generations, turned into who has acknowledged it."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from core.errors import MeshError, Unavailable
from core.manager.status import Applied, MeshStatus, ProxyStatus
from core.model.config import ConfigKey

PAUSE: Final = 0.05
"""Seconds between two looks."""

MOST_NAMES: Final = 10
"""Workloads that are listed in one line."""

GRACE: Final = 5.0
"""Seconds in which a proxy that lost its Manager is at another one; whoever is away for longer is not waited for."""

State = Literal["ACKNOWLEDGED", "WAITING", "REFUSED"]


class At(msgspec.Struct, frozen=True):
    """How one proxy stands to a document; `reason` is Envoy's text when it refused."""

    workload: str
    state: State
    reason: str = ""


class Reach(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How far one document has come. `generation` 0: not yet in force; `refused`: out of force until it changes.

    `silent`: Managers that do not answer, and may have proxies. `absent`: workloads whose proxy is not connected; what
    they live on is not known, and they get this when they come.
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
    absent: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"

    def those(self, state: State) -> list[At]:
        return [each for each in self.proxies if each.state == state]


def named(workloads: Sequence[object]) -> str:
    """Those of which a line may speak, and that there are more."""
    more = len(workloads) - MOST_NAMES
    return ", ".join(map(str, workloads[:MOST_NAMES])) + (f" and {more} more" if more > 0 else "")


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
        absent=tuple(map(str, status.absent)),
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
    """Looks until every document is acknowledged or one is refused. Raises `MeshError` for that, and for time.

    Proxies that are not connected are waited for as long as it takes to change the Manager. A Manager that does not
    answer for a while is one that is started again.
    """
    began = time.monotonic()
    while True:
        late = time.monotonic() - began >= seconds
        try:
            found = look()
        except Unavailable as error:
            if late:
                raise _unknown(error, seconds) from error
        else:
            if done := _done(found, late=late, patience=GRACE - (time.monotonic() - began), seconds=seconds):
                return done
        time.sleep(PAUSE)


def _done(found: tuple[Reach, ...], *, late: bool, patience: float, seconds: float) -> tuple[Reach, ...]:
    """Empty while there is something to wait for. Raises `MeshError`."""
    for each in found:
        if each.refused:
            raise _refused(each)
    waiting = next((each for each in found if not each.acknowledged), None)
    if waiting and late:
        raise _late(waiting, seconds)
    missing = patience > 0 and not late and any(each.absent for each in found)
    return () if waiting or missing else found


def _unknown(error: Unavailable, seconds: float) -> MeshError:
    return MeshError(
        f"what is said above is stored, but how far it came in {seconds:g} s is not known: {error}",
        fix="istioctl status shows it, once a Manager answers",
    )


def _refused(reach: Reach) -> MeshError:
    whose: dict[str, list[str]] = {}
    for each in reach.those("REFUSED"):
        whose.setdefault(" ".join(each.reason.split()), []).append(each.workload)
    who = "; ".join(f"{named(names)}: {reason}" for reason, names in whose.items())
    text = f"{reach} is stored, and out of force: a proxy refused it ({who or 'which is not connected any more'})"
    fix = "correct it and apply again; until then its last good version is in force (of a new object: nothing)"
    return MeshError(text, fix=fix)


def _late(reach: Reach, seconds: float) -> MeshError:
    late = [each.workload for each in reach.those("WAITING")]
    who = f"{named(late)} had not acknowledged it" if late else "the Manager had not settled it"
    if reach.silent:
        names = ", ".join(f"manager/{number}" for number in reach.silent)
        who = f"nothing was known of the proxies at {names}, which did not answer"
    text = f"{reach} is stored, but after {seconds:g} s {who} ({len(late)} of {len(reach.proxies)} proxies)"
    look = f"istioctl status {reach.kind.lower()} {reach.name} -n {reach.namespace}"
    return MeshError(text, fix=f"{look} shows how far it is; istioctl proxy-status shows the proxies")
