"""How to take a shift back: commands to paste."""

import shlex
from collections.abc import Iterator

from istioctl.calling import called
from istioctl.differing import as_written
from istioctl.options import Where
from istioctl.output import as_yaml
from istioctl.shifting.plan import Shift
from istioctl.shifting.rule import shares_of
from istioctl.shifting.words import Target


def undo(shift: Shift, where: Where) -> Iterator[str]:
    """Shell, to be pasted as it is. Subsets that were added to a document stay: by themselves they change nothing."""
    target, rule, policy = shift
    program = _program(where, target)
    if rule.stored is None:
        yield shlex.join((*program, "delete", "virtualservice", target.name))
        if policy and policy.stored is None:
            yield shlex.join((*program, "delete", "destinationrule", target.name))
    elif shares := shares_of(rule, target):
        yield shlex.join((*program, "shift", target.name, *(f"{name}={weight}" for name, weight in shares.items())))
    else:
        yield f"{shlex.join((*program, 'apply', '-f', '-'))} <<'EOF'"
        yield as_yaml(as_written(rule.stored))
        yield "EOF"


def _program(where: Where, target: Target) -> tuple[str, ...]:
    """As it was called, with what the user said: it works where this was typed."""
    namespace = () if target.namespace == where.own_namespace else ("-n", target.namespace)
    return (called(), *where.said(), *namespace)
