"""Mutual TLS on the side of who is called: which mode holds for a workload and a port, of all that rules say."""

import msgspec

from core.compiler.inputs import Inputs
from core.incremental import derived
from core.ir.security import MutualTls, PeerRule
from core.ir.values import Inherit
from core.model.config import ConfigKey
from core.model.labels import Labels

DEFAULT: MutualTls = "PERMISSIVE"
"""What holds where no rule says anything (Istio)."""


class Peers(msgspec.Struct, frozen=True):
    """What holds in a namespace: for everybody, and rules for some workloads, the oldest first."""

    mode: MutualTls
    selecting: tuple[PeerRule, ...] = ()

    def at(self, labels: Labels, port: int) -> MutualTls:
        """For one port (the workload's number) of a workload with these labels; port 0: those that no rule names.

        The oldest rule that selects the workload decides, a port's entry before the rest of it; what it leaves unset
        is as in the namespace (Istio `PeerAuthentication`).
        """
        rule = next((each for each in self.selecting if labels.select(each.labels)), None)
        if rule is None:
            return self.mode
        return _or(dict(rule.ports).get(port, rule.mode), _or(rule.mode, self.mode))

    def ports(self, labels: Labels) -> tuple[int, ...]:
        """The ports that a rule for a workload with these labels names."""
        rule = next((each for each in self.selecting if labels.select(each.labels)), None)
        return () if rule is None else tuple(port for port, _ in rule.ports)


@derived
def peers(inputs: Inputs, namespace: str) -> Peers:
    """The oldest rule for the whole namespace decides; what it leaves unset is as in the root namespace."""
    root = inputs.mesh.root_namespace
    own, above = _rules(inputs, namespace), _rules(inputs, root) if namespace != root else []
    mode = _whole(own, _whole(above, DEFAULT))
    return Peers(mode, tuple(rule for rule in own if rule.labels))


def _rules(inputs: Inputs, namespace: str) -> list[PeerRule]:
    found = (inputs.peer_rules.get(key) for key in inputs.peer_rules_by_namespace.get(namespace))
    return sorted((rule for rule in found if rule is not None), key=_age)


def _age(rule: PeerRule) -> tuple[float, ConfigKey]:
    return rule.created, rule.origin.config


def _whole(rules: list[PeerRule], default: MutualTls) -> MutualTls:
    rule = next((each for each in rules if not each.labels), None)
    return default if rule is None else _or(rule.mode, default)


def _or(mode: MutualTls | Inherit, default: MutualTls) -> MutualTls:
    return default if isinstance(mode, Inherit) else mode
