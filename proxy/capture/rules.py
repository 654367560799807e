"""What the kernel is to do with every connection, as data: tables, chains and rules, in Istio's order and by its names.

Neutral between iptables and nft, which only write it down. Why the rules are in this order: docs/reference/capture.md.
"""

from collections.abc import Iterator
from typing import Literal

import msgspec

from proxy.capture.policy import ALL, PROXY_PORTS, RETURN_MARK, ByUser, Policy

Field = Literal["protocol", "source", "destination", "port", "in", "out", "uid", "mark", "connection_mark", "state"]


class Match(msgspec.Struct, frozen=True):
    """One condition. `value` is an address, a number, a name, or for `state` always "established"."""

    field: Field
    value: str
    negated: bool = False


class Simple(msgspec.Struct, frozen=True, tag=True):
    """`refuse`: by a TCP reset, or ICMP for others. `save` and `restore` carry the mark to the connection and back."""

    verb: Literal["return", "accept", "refuse", "drop", "save", "restore"]


class Jump(msgspec.Struct, frozen=True, tag=True):
    chain: str


class Redirect(msgspec.Struct, frozen=True, tag=True):
    """To this port of the machine itself; the original destination can be asked for (SO_ORIGINAL_DST)."""

    port: int


class Tproxy(msgspec.Struct, frozen=True, tag=True):
    """To a transparent socket on this port, addresses unchanged; packets are marked, for routing."""

    port: int
    mark: int


class SetMark(msgspec.Struct, frozen=True, tag=True):
    mark: int


Verdict = Simple | Jump | Redirect | Tproxy | SetMark
RETURN, ACCEPT, REFUSE, DROP = Simple("return"), Simple("accept"), Simple("refuse"), Simple("drop")


class Rule(msgspec.Struct, frozen=True):
    matches: tuple[Match, ...]
    verdict: Verdict


ANSWERS = Rule((Match("protocol", "tcp"), Match("state", "established")), RETURN)


class Chain(msgspec.Struct, frozen=True):
    """A chain of ours, or one of the kernel's hooks (`PREROUTING`, `INPUT`, `OUTPUT`) with what is added to it."""

    name: str
    rules: tuple[Rule, ...]


class Table(msgspec.Struct, frozen=True):
    family: Literal["ip", "ip6"]
    name: Literal["nat", "mangle", "filter"]
    chains: tuple[Chain, ...]


HOOKS = ("PREROUTING", "INPUT", "OUTPUT")

TCP, UDP = Match("protocol", "tcp"), Match("protocol", "udp")
DNS = Match("port", "53")
FROM_LOOPBACK, TO_LOOPBACK = Match("in", "lo"), Match("out", "lo")
NOT_LOCALHOST = Match("destination", "127.0.0.1/32", negated=True)
NOT_HBONE = Match("port", "15008", negated=True)
FROM_PROXY_INBOUND = Match("source", "127.0.0.6/32")
"""The address from which the inbound side of the proxy calls its application: such calls are not led back to it."""


def tables(policy: Policy) -> tuple[Table, ...]:
    """Everything to be in force for this policy."""
    v6 = (Table("ip6", "filter", (*_refusing(policy),)),) if policy.ipv6 == "refuse" else ()
    mangle = (Table("ip", "mangle", (*_transparent(policy),)),) if policy.mode == "tproxy" else ()
    return (Table("ip", "nat", (*_redirecting(policy),)), *mangle, *v6)


def _redirecting(policy: Policy) -> Iterator[Chain]:
    if policy.mode == "redirect":
        yield Chain("PREROUTING", (Rule((TCP,), Jump("ISTIO_INBOUND")),))
    dns = (Rule((UDP,), Jump("ISTIO_OUTPUT_DNS")),) if policy.dns_port else ()
    yield Chain("OUTPUT", (*dns, Rule((TCP,), Jump("ISTIO_OUTPUT"))))
    yield Chain("ISTIO_REDIRECT", (Rule((TCP,), Redirect(policy.outbound_port)),))
    if policy.mode == "redirect":
        yield Chain("ISTIO_IN_REDIRECT", (Rule((TCP,), Redirect(policy.inbound_port)),))
        yield Chain("ISTIO_INBOUND", (*_inbound(policy, Jump("ISTIO_IN_REDIRECT")),))
    if policy.dns_port:
        yield Chain("ISTIO_OUTPUT_DNS", (*_dns(policy),))
    yield Chain("ISTIO_OUTPUT", (*_outbound(policy),))


def _inbound(policy: Policy, take: Verdict) -> Iterator[Rule]:
    for name in policy.exclude_interfaces:
        yield Rule((Match("in", name),), RETURN)
    for port in dict.fromkeys((*PROXY_PORTS, *policy.exclude_inbound_ports)):
        yield Rule((TCP, _to(port)), RETURN)
    if policy.include_inbound_ports == ALL:
        yield Rule((TCP,), take)
        return
    for port in policy.include_inbound_ports:
        yield Rule((TCP, _to(port)), take)


def _outbound(policy: Policy) -> Iterator[Rule]:
    """The order is Istio's (`istio-iptables`): what is left alone, calls to oneself, the proxy, then the rest."""
    yield from _left_alone(policy)
    own, foreign = _own(policy), _own(policy, negated=True)
    if policy.mode == "redirect":
        yield Rule((TO_LOOPBACK, NOT_LOCALHOST, TCP, NOT_HBONE, own), Jump("ISTIO_IN_REDIRECT"))
    yield Rule((TO_LOOPBACK, foreign), RETURN)
    yield Rule((own,), RETURN)
    yield Rule((Match("destination", "127.0.0.1/32"),), RETURN)
    for text in policy.exclude_outbound_ranges:
        yield Rule((Match("destination", text),), RETURN)
    yield from _led_out(policy)


def _left_alone(policy: Policy) -> Iterator[Rule]:
    if policy.mode == "tproxy":
        yield Rule((TCP, Match("mark", str(policy.tproxy_mark))), RETURN)
    yield from _excluded(policy)
    yield Rule((TO_LOOPBACK, FROM_PROXY_INBOUND), RETURN)


def _excluded(policy: Policy) -> Iterator[Rule]:
    for name in policy.exclude_interfaces:
        yield Rule((Match("out", name),), RETURN)
    for port in policy.exclude_outbound_ports:
        yield Rule((TCP, _to(port)), RETURN)


def _led_out(policy: Policy) -> Iterator[Rule]:
    if policy.include_outbound_ranges == ALL:
        yield Rule((TCP,), Jump("ISTIO_REDIRECT"))
        return
    for port in policy.include_outbound_ports:
        yield Rule((TCP, _to(port)), Jump("ISTIO_REDIRECT"))
    for text in policy.include_outbound_ranges:
        yield Rule((TCP, Match("destination", text)), Jump("ISTIO_REDIRECT"))


def _dns(policy: Policy) -> Iterator[Rule]:
    for name in policy.exclude_interfaces:
        yield Rule((Match("out", name),), RETURN)
    yield Rule((UDP, DNS, _own(policy, negated=True)), Redirect(policy.dns_port))


def _transparent(policy: Policy) -> Iterator[Chain]:
    """Without the first rule of `ISTIO_INBOUND` the proxy's calls to its application would come back to it for ever.

    Where no proxy listens, nft goes on with the rule after `tproxy` (iptables drops), so that one has to drop.
    """
    mark = Match("mark", str(policy.tproxy_mark))
    yield Chain("PREROUTING", (Rule((TCP,), Jump("ISTIO_PREROUTING")),))
    yield Chain("OUTPUT", (Rule((TCP,), Jump("ISTIO_MARK")),))
    yield Chain("ISTIO_PREROUTING", (Rule((TCP,), Jump("ISTIO_INBOUND")), Rule((TCP, mark), Simple("save"))))
    yield Chain("ISTIO_DIVERT", (Rule((), SetMark(policy.tproxy_mark)), Rule((), ACCEPT)))
    take = Tproxy(policy.inbound_port, policy.tproxy_mark)
    yield Chain("ISTIO_TPROXY", (Rule((NOT_LOCALHOST, TCP), take), Rule((NOT_LOCALHOST, TCP), DROP)))
    yield Chain("ISTIO_INBOUND", (*_transparent_inbound(policy, mark),))
    yield Chain("ISTIO_MARK", (*_marking(policy, mark),))


def _transparent_inbound(policy: Policy, mark: Match) -> Iterator[Rule]:
    yield Rule((TCP, mark), RETURN)
    yield Rule((TCP, FROM_LOOPBACK, FROM_PROXY_INBOUND), RETURN)
    yield Rule((TCP, FROM_LOOPBACK, Match("mark", str(RETURN_MARK), negated=True)), RETURN)
    inbound = (*_inbound(policy, Jump("ISTIO_TPROXY")),)
    yield from (rule for rule in inbound if rule.verdict == RETURN)
    yield Rule((TCP, Match("state", "established")), Jump("ISTIO_DIVERT"))
    yield from (rule for rule in inbound if rule.verdict != RETURN)


def _marking(policy: Policy, mark: Match) -> Iterator[Rule]:
    yield Rule((TCP, TO_LOOPBACK, mark), RETURN)
    yield Rule((NOT_LOCALHOST, TCP, TO_LOOPBACK, _own(policy)), SetMark(RETURN_MARK))
    yield Rule((TCP, Match("connection_mark", mark.value)), Simple("restore"))


def _refusing(policy: Policy) -> Iterator[Chain]:
    """IPv6 within the machine is left alone; everything else that would be captured if it were IPv4 is refused."""
    yield Chain("INPUT", (Rule((TCP,), Jump("ISTIO_INBOUND")),))
    yield Chain("OUTPUT", (Rule((), Jump("ISTIO_OUTPUT")),))
    yield Chain("ISTIO_INBOUND", (Rule((FROM_LOOPBACK,), RETURN), *_unless_answer(policy)))
    dns = (Rule((UDP, DNS), REFUSE),) if policy.dns_port else ()
    passing = (Rule((TO_LOOPBACK,), RETURN), Rule((_own(policy),), RETURN), ANSWERS, *_excluded(policy))
    yield Chain("ISTIO_OUTPUT", (*passing, *dns, *_all_out(policy)))


def _unless_answer(policy: Policy) -> Iterator[Rule]:
    yield ANSWERS
    yield from _inbound(policy, REFUSE)


def _all_out(policy: Policy) -> Iterator[Rule]:
    """Ranges are IPv4; where only some of those are captured, IPv6 is nobody's business but for the ports named."""
    if policy.include_outbound_ranges == ALL:
        yield Rule((TCP,), REFUSE)
        return
    for port in policy.include_outbound_ports:
        yield Rule((TCP, _to(port)), REFUSE)


def _own(policy: Policy, *, negated: bool = False) -> Match:
    if isinstance(policy.proxy, ByUser):
        return Match("uid", str(policy.proxy.uid), negated)
    return Match("mark", str(policy.proxy.mark), negated)


def _to(port: int) -> Match:
    return Match("port", str(port))
