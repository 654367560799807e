"""Whether what was observed is what a table expects, and whether simulator and proxies tell the same story."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from core.simulate import Outcome
from istioctl.testing.chance import bounds
from istioctl.testing.journal import Arrival
from istioctl.testing.observed import CLOSED, Observed, app_of
from istioctl.testing.table import Expect, HeaderWish, MirrorSpec, Present

_CLOCK = 0.01
"""Seconds by which two clocks may differ."""


def shares(observed: Sequence[Observed]) -> dict[str, float]:
    """Who answered what part of the calls."""
    found: dict[str, float] = defaultdict(float)
    for each in observed:
        found[each.who] += each.share
    return {who: share for who, share in found.items() if share}


def problems(expect: Expect, observed: Sequence[Observed], *, times: int) -> list[str]:
    """What is not as expected. `times`: how many calls were made; 0 when simulated, then shares are exact."""
    return [
        *_together(expect, shares(observed), times),
        *dict.fromkeys(p for o in observed for p in _single(expect, o)),
    ]


def _together(expect: Expect, found: dict[str, float], times: int) -> Iterator[str]:
    wanted = {expect.app: 1.0} if expect.app is not None else expect.shares
    if wanted is not None:
        yield from unlike(wanted, found, times=times)
    if expect.reaches is not None and set(expect.reaches) != set(found):
        yield f"reaches {sorted(found)}, not {sorted(expect.reaches)}"
    if expect.sticks and len(found) != 1:
        yield f"does not stick: {found}"


def unlike(wanted: Mapping[str, float], found: Mapping[str, float], *, times: int) -> Iterator[str]:
    """Shares that differ by more than chance allows in `times` calls; `times` 0: at all."""
    for who in sorted({*wanted, *found}):
        share, got = wanted.get(who, 0.0), found.get(who, 0.0)
        low, high = bounds(times, share) if times else (share, share)
        count = round(got * times) if times else got
        if not low - 1e-9 <= count <= high + 1e-9:
            yield f"{who} gets {count:g} of {times or 1}, not {low:g} to {high:g}"


def _single(expect: Expect, observed: Observed) -> Iterator[str]:
    for name in ("status", "grpc", "flag", "path", "authority", "peer"):
        wanted, got = getattr(expect, name), getattr(observed, name)
        if wanted is not None and wanted != got:
            yield f"{name} is {got!r}, not {wanted!r}"
    if expect.closed and observed.who != CLOSED:
        yield f"is not closed but answered: {observed.who}"
    if expect.location is not None and observed.response.get("location") != expect.location:
        yield f"location is {observed.response.get('location')!r}, not {expect.location!r}"
    if expect.body is not None and expect.body.encode() not in observed.body:
        yield f"body is {observed.body[:80]!r}, without {expect.body!r}"
    yield from _time(expect, observed)
    yield from _headers("request", expect.request_headers, observed.request)
    yield from _headers("response", expect.response_headers, observed.response)


def _time(expect: Expect, observed: Observed) -> Iterator[str]:
    if expect.delay is not None and observed.elapsed < expect.delay - _CLOCK:
        yield f"took {observed.elapsed:.3f} s, not at least {expect.delay} s"
    if expect.within is not None and observed.elapsed > expect.within:
        yield f"took {observed.elapsed:.3f} s, more than {expect.within} s"


def _headers(side: str, wishes: Mapping[str, HeaderWish] | None, headers: Mapping[str, str]) -> Iterator[str]:
    for name, wish in (wishes or {}).items():
        got = headers.get(name.lower())
        fulfilled = got is not None if isinstance(wish, Present) else got == wish
        if not fulfilled:
            yield f"{side} header {name} is {got!r}, not {'present' if isinstance(wish, Present) else repr(wish)}"


# -- copies and tries --------------------------------------------------------------------------------------------------


def copies_simulated(wanted: MirrorSpec, outcome: Outcome) -> Iterator[str]:
    found = {(app_of(e), mirror.authority): mirror.share for mirror in outcome.mirrors for e in mirror.endpoints}
    if found != {(wanted.app, wanted.authority): wanted.share}:
        yield f"copies go to {found}"


def copies_real(wanted: MirrorSpec, arrivals: Sequence[Arrival], *, times: int) -> Iterator[str]:
    copies = [arrival for arrival in arrivals if arrival.is_copy]
    if strange := {(each.app, each.authority) for each in copies} - {(wanted.app, wanted.authority)}:
        yield f"copies go to {strange}"
    yield from unlike({"copied": wanted.share}, {"copied": len(copies) / times}, times=times)


def tries(wanted: int, arrivals: Sequence[Arrival], *, times: int) -> Iterator[str]:
    seen = sum(not arrival.is_copy for arrival in arrivals)
    if seen != wanted * times:
        yield f"applications saw {seen} tries of {times} calls, not {wanted} each"


# -- agreement ---------------------------------------------------------------------------------------------------------


def disagreements(simulated: Sequence[Observed], real: Sequence[Observed]) -> list[str]:
    """Where the simulator says something else than what happened."""
    stories = {each.who: each for each in simulated}
    found = list(unlike(shares(simulated), shares(real), times=len(real)))
    told = (p for each in real if each.who in stories for p in _differences(stories[each.who], each))
    return [*found, *dict.fromkeys(told)]


def _differences(said: Observed, was: Observed) -> Iterator[str]:
    # What the flag was is a guess from the answer's text; an answer that a rule asked for may look the same.
    names = [
        "status",
        "grpc",
        *(["flag"] if said.flag and was.flag else []),
        *(["path", "authority"] if was.seen else []),
    ]
    for name in names:
        if getattr(said, name) != getattr(was, name):
            yield f"simulated {name} {getattr(said, name)!r}, was {getattr(was, name)!r}"
    for side in ("request", "response") if was.seen or was.response else ():
        for name, value in getattr(said, side).items():
            got = getattr(was, side).get(name)
            if "{n}" not in value and (side == "response" or was.seen) and got != value:
                yield f"simulated {side} header {name} {value!r}, was {got!r}"
    if was.elapsed < said.elapsed - _CLOCK:
        yield f"simulated at least {said.elapsed} s, took {was.elapsed:.3f} s"
