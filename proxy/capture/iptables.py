"""Rules as text for `iptables-restore --noflush`: one transaction a table, right whatever of ours was there before."""

from collections.abc import Iterator
from typing import assert_never

from proxy.capture.rules import HOOKS, Chain, Jump, Match, Redirect, Rule, SetMark, Simple, Table, Tproxy, Verdict

_OURS = "ISTIO_"
_FIELDS = {
    "protocol": "-p {}",
    "source": "-s {}",
    "destination": "-d {}",
    "port": "--dport {}",
    "in": "-i {}",
    "out": "-o {}",
    "uid": "--uid-owner {}",
    "mark": "--mark {}",
    "connection_mark": "--mark {}",
    "state": "--ctstate RELATED,ESTABLISHED",
}
_MODULES = {"uid": "-m owner ", "mark": "-m mark ", "connection_mark": "-m connmark ", "state": "-m conntrack "}
_SIMPLE = {
    "return": "RETURN",
    "accept": "ACCEPT",
    "drop": "DROP",
    "save": "CONNMARK --save-mark",
    "restore": "CONNMARK --restore-mark",
}


def replaced(table: Table, saved: str) -> str:
    """`saved` is what `iptables-save` says of this table; what it holds of ours goes, and `table` comes."""
    own = [chain for chain in table.chains if chain.name not in HOOKS]
    old = [name for name in _chains(saved) if name not in {chain.name for chain in own}]
    lines = [
        *_jumps_away(saved),
        *(f":{chain.name} - [0:0]" for chain in own),
        *(f"-F {name}" for name in old),
        *(line for chain in table.chains for line in _lines(chain)),
        *(f"-X {name}" for name in old),
    ]
    return _transaction(table.name, lines)


def removed(table: str, saved: str) -> str:
    """Takes out everything of ours; "" when there is nothing."""
    old = list(_chains(saved))
    lines = [*_jumps_away(saved), *(f"-F {name}" for name in old), *(f"-X {name}" for name in old)]
    return _transaction(table, lines) if lines else ""


def _transaction(table: str, lines: list[str]) -> str:
    return "\n".join((f"*{table}", *lines, "COMMIT", ""))


def _chains(saved: str) -> Iterator[str]:
    for line in saved.splitlines():
        if line.startswith(f":{_OURS}"):
            yield line[1:].split()[0]


def _jumps_away(saved: str) -> Iterator[str]:
    """From the kernel's chains to ours."""
    for line in saved.splitlines():
        words = line.split()
        if words[:1] == ["-A"] and words[1] in HOOKS and words[-2] in ("-j", "-g") and words[-1].startswith(_OURS):
            yield "-D" + line.removeprefix("-A")


def _lines(chain: Chain) -> Iterator[str]:
    for rule in chain.rules:
        yield f"-A {chain.name} {_rule(rule)}"


def _rule(rule: Rule) -> str:
    return " ".join((*map(_match, rule.matches), f"-j {_verdict(rule.verdict, rule.matches)}"))


def _match(match: Match) -> str:
    negation = "! " if match.negated else ""
    return _MODULES.get(match.field, "") + negation + _FIELDS[match.field].format(match.value)


def _verdict(verdict: Verdict, matches: tuple[Match, ...]) -> str:
    match verdict:
        case Simple("refuse"):
            return "REJECT --reject-with tcp-reset" if Match("protocol", "tcp") in matches else "REJECT"
        case Simple(verb):
            return _SIMPLE[verb]
        case Jump(chain):
            return chain
        case Redirect(port):
            return f"REDIRECT --to-ports {port}"
        case Tproxy(port, mark):
            return f"TPROXY --on-port {port} --tproxy-mark {mark}/0xffffffff"
        case SetMark(mark):
            return f"MARK --set-mark {mark}"
        case _:
            assert_never(verdict)
