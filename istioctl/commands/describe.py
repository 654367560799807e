"""`istioctl describe`: one object with all that is known of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from core.errors import NotFound
from istioctl import completing
from istioctl.options import Where, namespace_option, state_dir_option
from istioctl.output import as_yaml, show

if TYPE_CHECKING:
    from core.kinds.kind import Kind
    from core.manager.api.histories import History
    from core.manager.api.objects import Resource
    from istioctl.client import Api
    from istioctl.reach import Reach


@click.command()
@click.argument("kind", shell_complete=completing.kinds)
@click.argument("name", shell_complete=completing.names)
@namespace_option
@state_dir_option
@click.pass_obj
def command(where: Where, kind: str, name: str) -> None:
    """Show one object with all that is known of it.

    What it says, what the Manager finds wrong with it, who changed it last, and how far it has come at the proxies.

    \b
    Examples:
      istioctl describe virtualservice reviews
      istioctl describe dr reviews -n shop
    """
    from istioctl.client import Api
    from istioctl.names import find_kind

    found = find_kind(kind)
    with Api(where.state_dir) as api:
        show(_described(api, found, where.namespace_for(found.namespace), name))


def _described(api: Api, kind: Kind, namespace: str, name: str) -> str:
    from core.model.config import ConfigKey
    from istioctl.differing import as_written
    from istioctl.reach import reaches

    stored = api.find(kind, namespace, name)
    if stored is None:
        fix = f"istioctl get {kind.plural} -A shows what there is"
        raise NotFound(f'there is no {kind.kind.lower()} "{name}" in namespace {namespace}', fix=fix)
    key = ConfigKey(kind.group, kind.kind, namespace, name)
    (reach,) = reaches(api.status(), {key: stored.metadata.resource_version})
    changes = _changes(api.history(kind, namespace, name))
    blocks = (as_yaml(as_written(stored)), *_findings(stored), changes, _proxies(reach))
    return "\n\n".join(blocks)


def _findings(stored: Resource) -> tuple[str, ...]:
    lines = [
        f"  {each.level.capitalize()} [{each.type.code}] {each.field}: {each.message}"
        + (f"\n    fix: {each.fix}" if each.fix else "")
        for each in stored.status.validation_messages
    ]
    return ("\n".join(["Findings:", *lines]),) if lines else ("Findings: none",)


def _changes(history: History) -> str:
    if not history.revisions:
        return "Last change: not remembered any more"
    last = history.revisions[-1]
    when = datetime.fromtimestamp(int(last.time), UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return f"Last change: revision {last.revision}, {when}, by {last.author or 'somebody'}: {last.summary}"


def _proxies(reach: Reach) -> str:
    have = len(reach.those("ACKNOWLEDGED"))
    since = f"in force since generation {reach.generation}" if reach.generation else "not in force yet"
    head = f"Proxies: {have} of {len(reach.proxies)} have acknowledged it; {since}"
    others = (
        f"  {each.workload}: {each.state} {' '.join(each.reason.split())}".rstrip()
        for each in reach.proxies
        if each.state != "ACKNOWLEDGED"
    )
    return "\n".join([head, *others])
