"""Runs one case of a table: on the simulator, or on the real proxies of a mesh."""

import asyncio
import time

import msgspec

from core.compiler.views import ProxyViews
from core.model.identity import SpiffeId
from core.model.workload import Redirected
from core.simulate import Call, Outcome, end_to_end
from istioctl.testing import judge, observed
from istioctl.testing.caller import Site, entrance, send_many
from istioctl.testing.mesh import TestMesh
from istioctl.testing.observed import Observed
from istioctl.testing.table import OUTSIDE_PORT, Case, pairs
from istioctl.testing.wrapping import CALLER, wrapping

_FEW, _MANY = 5, 300
_LINES = 4
_PATIENCE = 2.0
_TERMS = ("PeerAuthentication", "AuthorizationPolicy", "MeshConfig")
"""Kinds that say on which terms callers are served: connections from before would tell of other terms."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What happened, and what of that is not as expected."""

    problems: tuple[str, ...]
    observed: tuple[Observed, ...]


def call_of(case: Case, *, outside: int) -> Call:
    return case.call if case.call.port else msgspec.structs.replace(case.call, port=outside)


def rules_of(case: Case, *, outside: int) -> str:
    """The documents of `case`, where they name the outside server with its port."""
    return case.rules.replace(OUTSIDE_PORT, str(outside))


def times(case: Case) -> int:
    """As often as the table says; else often enough for its shares."""
    if case.spec.times is not None:
        return case.spec.times
    return _MANY if len(case.expect.shares or ()) > 1 else _FEW


# -- simulated ---------------------------------------------------------------------------------------------------------


def simulated(site: Site, case: Case) -> Verdict:
    call = call_of(case, outside=1)
    outcome = followed(site, call)
    found = observed.simulated(outcome, call)
    problems = judge.problems(case.expect, found, times=0)
    copies = judge.copies_simulated(case.expect.mirrored, outcome) if case.expect.mirrored else ()
    return Verdict(problems=(*problems, *copies), observed=found)


def followed(site: Site, call: Call) -> Outcome:
    return end_to_end(ProxyViews(site.inputs), introduced(site, call), entrance=entrance(site, call))


def introduced(site: Site, call: Call) -> Call:
    """With what the proxies at the other end learn of the caller: his certificate's name, and his address."""
    if call.via == "inbound":
        return msgspec.structs.replace(call, identity=str(CALLER) if call.shown == "mesh" else "")
    caller = next(each for each in site.plan.workloads if each.key == call.source)
    domain, account = site.inputs.mesh.trust_domain, caller.service_account
    identity = SpiffeId.of(domain, namespace=caller.key.namespace, service_account=account)
    own = {"address": caller.address} if isinstance(caller.capture, Redirected) else {}
    return msgspec.structs.replace(call, identity=str(identity), **own)


# -- real --------------------------------------------------------------------------------------------------------------


async def under(mesh: TestMesh, case: Case) -> None:
    """Brings exactly the rules of `case` into force, the first as the oldest; those of a case before it are kept."""
    before, rules = mesh.rules, rules_of(case, outside=mesh.outside)
    if before != rules:
        await mesh.clear()
        await mesh.apply(rules)
    if before != rules and any(kind in before + rules for kind in _TERMS):
        await mesh.drained()


async def made(mesh: TestMesh, case: Case) -> Verdict:
    """Makes the calls on real proxies."""
    call, count = call_of(case, outside=mesh.outside), times(case)
    if before := case.spec.before:
        first = msgspec.structs.replace(call, headers=pairs(dict(before.headers)))
        await send_many(mesh, first, times=before.times)
    mesh.journal.clear()
    inside = wrapping(mesh.container.authority(), call) if call.shown is not None else None
    replies = await send_many(mesh, call, times=count, lines=case.spec.lines or _LINES, inside=inside)
    found = observed.real(replies)
    problems = judge.problems(case.expect, found, times=count)
    return Verdict(problems=(*problems, *await _beside(mesh, case, count)), observed=found)


async def _beside(mesh: TestMesh, case: Case, count: int) -> list[str]:
    """What no answer tells. Copies may arrive after the answers, so there is some time for them."""
    deadline = time.monotonic() + _PATIENCE
    while (found := _journal(mesh, case, count)) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return found


def _journal(mesh: TestMesh, case: Case, count: int) -> list[str]:
    expect, arrivals = case.expect, mesh.journal.arrivals
    copies = judge.copies_real(expect.mirrored, arrivals, times=count) if expect.mirrored else ()
    tries = judge.tries(expect.attempts, arrivals, times=count) if expect.attempts is not None else ()
    return [*copies, *tries]


def agreement(mesh: TestMesh, case: Case, verdict: Verdict) -> list[str]:
    """Where the simulator, asked of the same mesh, says something else."""
    call = call_of(case, outside=mesh.outside)
    return judge.disagreements(observed.simulated(followed(mesh, call), call), verdict.observed)
