"""May this caller call? Policies asked one after the other, as the proxy asks them."""

from collections.abc import Callable, Iterable
from ipaddress import ip_address, ip_network
from typing import TypeVar, assert_never

import msgspec
import re2

from core.ir.access import (
    Address,
    Clause,
    Destination,
    Header,
    Identity,
    Never,
    Operation,
    Port,
    ServerName,
    Source,
    Suffix,
    TextMatch,
    UrlPath,
    What,
    Who,
)
from core.ir.values import Exact, Prefix, Present, Regex
from core.simulate.request import Request
from core.view.access import Check, Policy

T = TypeVar("T", Source, Operation)


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a proxy knows of a call that it received.

    `identity`: the SPIFFE ID in the caller's certificate, "" without one. `origin`: who called first, as far as the
    proxy believes it. `request` None: bytes that are not looked into.
    """

    identity: str = ""
    address: str = ""
    origin: str = ""
    destination: tuple[str, int] = ("", 0)
    server_name: str = ""
    request: Request | None = None


class Refusal(msgspec.Struct, frozen=True):
    """Why a call was refused: the policy that denies it, or (None) that none allows it."""

    check: Check
    policy: Policy | None


def refusal(checks: Iterable[Check], facts: Facts) -> Refusal | None:
    """The first check that refuses the call; None: it is let in. Dry runs and audits refuse nobody."""
    for check in checks:
        if check.dry_run or check.action == "AUDIT":
            continue
        # Envoy asks them in the order of their names.
        found = next((each for each in sorted(check.policies, key=_name) if holds(each.clause, facts)), None)
        if (found is None) is (check.action == "ALLOW"):
            return Refusal(check, found)
    return None


def _name(policy: Policy) -> str:
    return policy.name


def holds(clause: Clause, facts: Facts) -> bool:
    who = any(all(_fits(test, _is, facts) for test in every) for every in clause.sources)
    return who and any(all(_fits(test, _does, facts) for test in every) for every in clause.operations)


def _fits(test: Who | What, asked: Callable[[T, Facts], bool], facts: Facts) -> bool:
    some = not test.any_of or any(asked(each, facts) for each in test.any_of)  # type: ignore[arg-type]
    return some and not any(asked(each, facts) for each in test.none_of)  # type: ignore[arg-type]


def _is(source: Source, facts: Facts) -> bool:
    match source:
        case Identity(match):
            return bool(facts.identity) and _matches(match, facts.identity)
        case Address(network, "connection"):
            return _lies_in(facts.address, network)
        case Address(network):
            return _lies_in(facts.origin, network)
        case Never():
            return False
        case _:
            assert_never(source)


def _does(operation: Operation, facts: Facts) -> bool:
    match operation:
        case Destination(network):
            return _lies_in(facts.destination[0], network)
        case Port(number):
            return facts.destination[1] == number
        case ServerName(match):
            return _matches(match, facts.server_name)
        case Header(name, match):
            return facts.request is not None and _has(facts.request, name, match)
        case UrlPath(match):
            return facts.request is not None and _matches(match, facts.request.path)
        case _:
            assert_never(operation)


def _has(request: Request, name: str, match: TextMatch | Present) -> bool:
    """Of a repeated header one value is enough (Envoy, since callers got round policies by sending more)."""
    own = {":authority": [request.authority], ":method": [request.method]}
    values = own.get(name) or request.values(name)
    return bool(values) and (isinstance(match, Present) or any(_matches(match, each) for each in values))


def _matches(match: TextMatch, text: str) -> bool:
    match match:
        case Exact(value):
            return text == value
        case Prefix(value):
            return text.startswith(value)
        case Suffix(value):
            return text.endswith(value)
        case Regex(pattern):
            return re2.fullmatch(pattern, text) is not None
        case _:
            assert_never(match)


def _lies_in(address: str, network: str) -> bool:
    return bool(address) and ip_address(address) in ip_network(network)
