"""Who is found guilty when a proxy refuses something that several documents had a share in."""

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest

from core.manager.quarantine import Quarantine
from core.manager.refusals import REFUSED, Blame, Contribution, suspects
from core.manager.testing.facts import Plane, document, workload_key
from core.manager.xds.resource import Resource, ResourceType
from core.model.config import ConfigKey

NAMES = [f"d{i}" for i in range(33)]


def key(name: str) -> ConfigKey:
    return ConfigKey("networking.istio.io", "VirtualService", "default", name)


def blame(*names: str, resource: str = "http_proxy") -> Blame:
    return Blame(workload_key("a"), ResourceType.ROUTES, resource, "no", tuple(map(key, names)))


class Court:
    """A `Bench` with one proxy and one resource made of all documents in force; it refuses sets that hold a bad one.

    `pairs` are documents that are bad together only.
    """

    def __init__(
        self,
        bad: Iterable[str] = (),
        pairs: Iterable[tuple[str, str]] = (),
        always: bool = False,
        trusted: Iterable[str] = (),
    ) -> None:
        rules = [document("VirtualService", n, {"hosts": [n], "http": [{"redirect": {"uri": "/"}}]}) for n in NAMES]
        self.plane = Plane(*rules)
        self.trusted = set(trusted)
        self.quarantine = Quarantine(self.plane.pusher, trusted=lambda key: key.name in self.trusted)
        self.bad, self.pairs, self.always = set(bad), list(pairs), always
        self.accepted: set[str] = set()
        self.heard: set[str] | None = None
        self.refused: Blame | None = None
        self.rounds = 0
        self.oblivious = False
        self.never_out = set(NAMES)

    @property
    def in_force(self) -> set[str]:
        return {found.name for found in self.plane.world.inputs.route_rules}

    async def answered(self, *, within: float) -> None:
        await asyncio.sleep(0)
        self.rounds += 1
        # What was heard is not sent again; what a verdict took out of force is sent without it.
        while (now := self.in_force) != self.heard:
            self.heard = now
            self.never_out &= now
            if not (self.always or self.bad & now or any({*pair} <= now for pair in self.pairs)):
                self.accepted, self.refused = now, None
            else:
                self.refused = blame(*sorted(now if self.oblivious else now - self.accepted))
                self.quarantine.blame(self.refused)

    def blames(self) -> tuple[Blame, ...]:
        return () if self.refused is None else (self.refused,)

    def guilty(self) -> set[str]:
        return {name for name in NAMES if self.quarantine.diagnostics(key(name))}


async def tried(court: Court) -> AsyncIterator[Court]:
    task = asyncio.create_task(court.quarantine.try_suspects(court))
    await court.answered(within=1)
    async with asyncio.timeout(5):
        while not court.quarantine.calm:  # noqa: ASYNC110 - it tells nobody when it is done
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    yield court


@pytest.mark.parametrize("bad", [["d0"], ["d16"], ["d32"], ["d1", "d2"], ["d0", "d14", "d28"], NAMES])
async def test_exactly_the_guilty_are_found(bad: list[str]) -> None:
    """However many they are: those stay out of force, and all others are in force."""
    async for court in tried(Court(bad)):
        assert court.guilty() == set(bad)
        assert court.in_force == court.accepted == set(NAMES) - set(bad)
        assert court.blames() == ()


async def test_who_was_taken_before_is_suspected_last() -> None:
    """After a restart nothing is known of what proxies live on but which documents were in it: those stay in force."""
    async for court in tried(Court(["d6"], trusted=set(NAMES) - {"d6", "d7"})):
        assert court.guilty() == {"d6"}
        assert court.never_out == court.trusted


async def test_who_was_taken_before_may_be_guilty_yet() -> None:
    """Something else may have changed what it is compiled into."""
    async for court in tried(Court(["d6"], trusted=set(NAMES) - {"d7"})):
        assert court.guilty() == {"d6"}
        assert court.in_force == set(NAMES) - {"d6"}


async def test_one_that_is_refused_alone_is_guilty() -> None:
    """Also where what the proxy lives on stays unknown, so that the others are suspected with it."""
    court = Court(["d6"], trusted=set(NAMES) - {"d6"})
    court.oblivious = True
    async for tried_court in tried(court):
        assert tried_court.guilty() == {"d6"}
        assert tried_court.rounds < 8


async def test_one_of_many_takes_a_few_rounds() -> None:
    """Suspects come back by halves, not one after the other."""
    async for court in tried(Court(["d6"])):
        assert court.rounds <= 15


async def test_two_that_are_bad_together_cost_one() -> None:
    """The one that comes back last is found guilty; the other works."""
    async for court in tried(Court(pairs=[("d2", "d7")])):
        assert len(court.guilty()) == 1
        assert court.guilty() <= {"d2", "d7"}
        assert court.in_force == set(NAMES) - court.guilty()


async def test_what_is_refused_without_any_document_is_no_documents_fault() -> None:
    """They all come back into force, and none is blamed."""
    async for court in tried(Court(always=True)):
        assert court.guilty() == set()
        assert court.in_force == set(NAMES)
        # And they are not tried again and again for the same.
        assert court.rounds < 8


def test_a_single_suspect_is_guilty_at_once() -> None:
    """It goes out of force, it is told, and somebody is asked to settle."""
    court, told, changes = Court(), list[ConfigKey](), list[int]()
    court.quarantine.on_verdict(told.append)
    court.quarantine.on_change(lambda: changes.append(1))
    court.quarantine.blame(blame("d3"))
    assert court.in_force == set(NAMES) - {"d3"}
    assert (told, len(changes)) == ([key("d3")], 1)
    (found,) = court.quarantine.diagnostics(key("d3"))
    assert (found.code, found.origin and found.origin.config) == (REFUSED, key("d3"))
    assert "RDS http_proxy" in found.message
    assert "no" in found.message


def test_a_document_that_changes_is_forgiven() -> None:
    """Nothing is held against its new version."""
    court = Court()
    court.quarantine.blame(blame("d3"))
    court.quarantine.forgive(key("d3"))
    assert court.guilty() == set()
    assert court.quarantine.calm


def test_a_refusal_without_documents_changes_nothing() -> None:
    """There is nobody to blame."""
    court = Court()
    court.quarantine.blame(blame())
    assert court.quarantine.calm
    assert court.in_force == set(NAMES)


# -- suspects ----------------------------------------------------------------------------------------------------------


def made_of(**digests: str) -> Resource:
    origins = tuple(Contribution(key(name), digest.encode()) for name, digest in digests.items())
    return Resource("http_proxy", "v", b"", origins)


def test_suspects_are_those_that_say_something_else_than_what_the_proxy_lives_on() -> None:
    """New ones and changed ones; neither those that stayed the same nor those that are gone."""
    refused, held = made_of(d1="x", d2="new", d3="y"), made_of(d1="x", d2="old", d4="z")
    assert suspects(refused, held) == (key("d2"), key("d3"))


def test_all_are_suspects_when_nobody_knows_what_the_proxy_lives_on() -> None:
    """A new proxy, or one from before the Manager's restart."""
    refused = made_of(d1="x", d2="y")
    assert suspects(refused, None) == suspects(refused, Resource("http_proxy", "v0", b"")) == (key("d1"), key("d2"))


def test_nobody_is_a_suspect_when_no_document_made_the_difference() -> None:
    """A service did."""
    assert suspects(made_of(d1="x"), made_of(d1="x", d2="y")) == ()
