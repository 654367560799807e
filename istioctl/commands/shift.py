"""`istioctl shift`: sends shares of a service's calls to its versions, without writing YAML first."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from core.errors import Conflict, Denied, Misconfigured
from istioctl.options import Where, mesh_options, namespace_option, output_option
from istioctl.output import as_json, as_yaml, say, show

if TYPE_CHECKING:
    from core.manager.api.objects import Resource
    from istioctl.applying import Step
    from istioctl.client import Api
    from istioctl.shifting.plan import Shift
    from istioctl.shifting.stored import Planned

PATIENCE, PAUSE = 0.3, 0.03
"""Seconds to wait for what the Manager finds wrong with what was just written, and between two looks."""


@click.command()
@click.argument("service")
@click.argument("shares", metavar="SUBSET=PERCENT...", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Print what would be applied, and write nothing.")
@output_option("yaml", "json")
@namespace_option
@mesh_options
@click.pass_obj
def command(where: Where, service: str, shares: tuple[str, ...], dry_run: bool, output: str) -> None:
    """Send shares of a service's calls to its versions.

    Percentages add up to 100. Writes the service's VirtualService; routes with conditions, timeouts and the like stay
    as they are. A subset that no DestinationRule defines is added: the workloads with the label version=SUBSET. What
    was applied goes to stdout as YAML; how to undo it, to stderr. A rule that is not simple is refused, not guessed at.

    \b
    Examples:
      istioctl shift reviews v1=90 v2=10
      istioctl shift reviews v3=100 -n shop
      istioctl shift reviews v1=50 v3=50 --dry-run > rule.yaml
    """
    from istioctl.shifting.plan import plan
    from istioctl.shifting.words import parse_target, parse_weights

    namespace = where.namespace if "." in service else where.namespace_for()
    target, weights = parse_target(service, namespace), parse_weights(shares)
    with where.api() as api:
        rules, policies = (_stored(api, kind, target.namespace) for kind in ("vs", "dr"))
        shift = plan(target, weights, rules=rules, policies=policies)
        steps = _rehearse(api, shift)
        if dry_run:
            show(_documents(shift, output))
            say("(dry run: nothing was written)")
            return
        done = _write(api, steps, shift)
        show(_documents(shift, output))
        for line in (*map(str, done), *_findings(api, shift)):
            say(line)
    _say_undo(shift, where, done[-1])


def _say_undo(shift: Shift, where: Where, last: Step) -> None:
    from istioctl.applying import UNCHANGED
    from istioctl.shifting.undo import undo

    if last.outcome != UNCHANGED:
        say("\nto undo it:")
        for line in undo(shift, where):
            say(line)


def _stored(api: Api, kind: str, namespace: str) -> tuple[Resource, ...]:
    """Of all namespaces; who may not see these has `namespace` alone."""
    from istioctl.names import find_kind

    try:
        return api.list(find_kind(kind))
    except Denied:
        return api.list(find_kind(kind), namespace)


def _rehearse(api: Api, shift: Shift) -> tuple[Step, ...]:
    """Raises `Misconfigured` when the Manager would not take one of them."""
    from istioctl.applying import Wanted, rehearse

    steps, refusals = rehearse(api, [Wanted(each.kind, each.wanted, "shift") for each in shift.documents])
    for line in (line for refusal in refusals for line in refusal.lines()):
        say(line)
    if refusals:
        raise Misconfigured("the Manager does not accept this; nothing was written", fix="correct what is said above")
    return steps


def _write(api: Api, steps: tuple[Step, ...], shift: Shift) -> tuple[Step, ...]:
    """Onto what was read, and nothing newer: what somebody else did meanwhile is not overwritten. Raises `Conflict`."""
    from istioctl.applying import commit

    planned = [step._replace(revision=each.revision) for step, each in zip(steps, shift.documents, strict=True)]
    try:
        return commit(api, planned, attempts=1)
    except Conflict as error:
        names = " or ".join(str(step.wanted) for step in steps)
        raise Conflict(f"somebody else changed {names} meanwhile", fix="do it again") from error


def _documents(shift: Shift, output: str) -> str:
    documents = [each.wanted for each in shift.documents]
    if output == "json":
        return as_json({"apiVersion": "v1", "kind": "List", "items": documents})
    return "\n---\n".join(as_yaml(each) for each in documents)


def _findings(api: Api, shift: Shift) -> list[str]:
    """What the Manager finds wrong with what it has now: a misspelt service, a version that nobody runs."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = [line for each in shift.documents for line in _findings_of(api, each)]
        if found or time.monotonic() >= deadline:
            return found
        time.sleep(PAUSE)


def _findings_of(api: Api, planned: Planned) -> list[str]:
    wanted = planned.wanted.metadata
    stored = api.find(planned.kind, wanted.namespace, wanted.name)
    messages = stored.status.validation_messages if stored else ()
    return [
        f"{each.level.capitalize()} [{each.type.code}] {planned.kind.kind} {wanted.namespace}/{wanted.name} "
        f"{each.field}: {each.message}; {each.fix}"
        for each in messages
    ]
