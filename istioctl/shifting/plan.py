"""A whole shift: what it takes to make it so."""

from collections.abc import Iterable
from typing import NamedTuple

from core.manager.api.objects import Resource
from istioctl.shifting.policy import plan_policy
from istioctl.shifting.rule import plan_rule
from istioctl.shifting.stored import Planned
from istioctl.shifting.words import Target, Weights


class Shift(NamedTuple):
    """`policy` is None when every subset is defined already."""

    target: Target
    rule: Planned
    policy: Planned | None

    @property
    def documents(self) -> tuple[Planned, ...]:
        """In the order of writing: the rule must not name a subset before somebody defines it."""
        return (self.policy, self.rule) if self.policy else (self.rule,)


def plan(target: Target, weights: Weights, *, rules: Iterable[Resource], policies: Iterable[Resource]) -> Shift:
    """`rules` and `policies` are all there are. Raises `Misconfigured` where there is no simple answer."""
    return Shift(target, plan_rule(target, weights, rules), plan_policy(target, weights, policies))
