"""Rules as text for `nft -f`: one transaction for everything, whatever of ours was there before."""

from collections.abc import Iterable
from typing import assert_never

from proxy.capture.rules import HOOKS, Chain, Jump, Match, Redirect, Rule, SetMark, Simple, Table, Tproxy, Verdict

NAMES = tuple(f"{family} istio-proxy-{name}" for family, name in (
    ("ip", "nat"), ("ip", "mangle"), ("ip6", "filter"),
))  # fmt: skip
"""Every table that is ever ours."""

_HOOKED: dict[tuple[str, str], str] = {
    ("nat", "PREROUTING"): "type nat hook prerouting priority -100",
    ("nat", "OUTPUT"): "type nat hook output priority -100",
    ("mangle", "PREROUTING"): "type filter hook prerouting priority -150",
    ("mangle", "OUTPUT"): "type route hook output priority -150",
    ("filter", "INPUT"): "type filter hook input priority 0",
    ("filter", "OUTPUT"): "type filter hook output priority 0",
}
_FIELDS = {
    "protocol": "meta l4proto {}{}",
    "source": "ip saddr {}{}",
    "destination": "ip daddr {}{}",
    "port": "th dport {}{}",
    "in": 'iifname {}"{}"',
    "out": 'oifname {}"{}"',
    "uid": "meta skuid {}{}",
    "mark": "meta mark {}{}",
    "connection_mark": "ct mark {}{}",
}
_SIMPLE = {
    "return": "return",
    "accept": "accept",
    "drop": "drop",
    "save": "ct mark set meta mark",
    "restore": "meta mark set ct mark",
}


def replaced(tables: Iterable[Table]) -> str:
    """Takes out everything of ours and puts `tables` in."""
    return "\n".join((removed(), *map(_table, tables), ""))


def removed() -> str:
    """`add` makes sure that there is something to delete."""
    return "\n".join(f"add table {name}\ndelete table {name}" for name in NAMES) + "\n"


def _table(table: Table) -> str:
    """Chains are declared before the first rule that jumps to one of them."""
    name = f"{table.family} istio-proxy-{table.name}"
    declared = [f"add chain {name} {chain.name}{_hook(table, chain)}" for chain in table.chains]
    rules = [f"add rule {name} {chain.name} {_rule(rule)}" for chain in table.chains for rule in chain.rules]
    return "\n".join((f"add table {name}", *declared, *rules))


def _hook(table: Table, chain: Chain) -> str:
    return f" {{ {_HOOKED[table.name, chain.name]}; policy accept; }}" if chain.name in HOOKS else ""


def _rule(rule: Rule) -> str:
    return " ".join((*map(_match, rule.matches), _verdict(rule.verdict, rule.matches)))


def _match(match: Match) -> str:
    if match.field == "state":
        return "ct state established,related"
    return _FIELDS[match.field].format("!= " if match.negated else "", match.value)


def _verdict(verdict: Verdict, matches: tuple[Match, ...]) -> str:
    match verdict:
        case Simple("refuse"):
            return "reject with tcp reset" if Match("protocol", "tcp") in matches else "reject"
        case Simple(verb):
            return _SIMPLE[verb]
        case Jump(chain):
            return f"jump {chain}"
        case Redirect(port):
            return f"redirect to :{port}"
        case Tproxy(port, mark):
            return f"tproxy to :{port} meta mark set {mark} accept"
        case SetMark(mark):
            return f"meta mark set {mark}"
        case _:
            assert_never(verdict)
