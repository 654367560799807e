"""`istioctl describe`: one object with all that is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from core.errors import Denied
from istioctl import completing
from istioctl.findings import without_fix
from istioctl.options import Where, mesh_options, namespace_option
from istioctl.output import as_yaml, show, utc

if TYPE_CHECKING:
    from core.kinds.kind import Kind
    from core.manager.api.histories import History
    from core.manager.api.objects import Resource
    from istioctl.client import Api
    from istioctl.concerning import Line
    from istioctl.reach import Reach

SHOWN_CHANGES = 3


@click.command()
@click.argument("kind", shell_complete=completing.kinds)
@click.argument("name", shell_complete=completing.names)
@namespace_option
@mesh_options
@click.pass_obj
def command(where: Where, kind: str, name: str) -> None:
    """Show one object with all that is known of it.

    What it says, what the Manager finds wrong with it, whom it concerns, how far it has come at the proxies, and who
    changed it last.

    \b
    Examples:
      istioctl describe virtualservice reviews
      istioctl describe dr reviews -n shop
    """
    from istioctl.names import find_kind

    found = find_kind(kind)
    with where.api() as api:
        show(_described(api, found, where.namespace_for(found.namespace), name))


def _described(api: Api, kind: Kind, namespace: str, name: str) -> str:
    from istioctl.differing import as_written
    from istioctl.finding import stored

    resource = stored(api, kind, namespace, name)
    blocks = (
        as_yaml(as_written(resource)),
        *_findings(resource),
        *_status(api, kind, resource),
        _changes(api.history(kind, namespace, name)),
    )
    return "\n\n".join(blocks)


def _findings(stored: Resource) -> tuple[str, ...]:
    lines = [
        f"  {without_fix(each)}" + (f"\n    fix: {each.fix}" if each.fix else "")
        for each in stored.status.validation_messages
    ]
    return ("\n".join(["Findings:", *lines]),) if lines else ("Findings: none",)


def _status(api: Api, kind: Kind, resource: Resource) -> tuple[str, ...]:
    """Whom it concerns, and how far it has come. Not everybody may see the proxies."""
    from core.model.config import ConfigKey
    from istioctl.concerning import lines, served
    from istioctl.reach import reaches

    about, metadata = lines(resource), resource.metadata
    try:
        status = api.status()
    except Denied as error:
        return (*_concerns(about), f"Proxies: not shown; {error}")
    key = ConfigKey(kind.group, kind.kind, metadata.namespace, metadata.name)
    (reach,) = reaches(status, {key: metadata.resource_version})
    keys = [each.workload for each in status.proxies]
    more = served(api, kind, (metadata.namespace, metadata.name), proxies=keys)
    return (*_concerns((*about, *((more,) if more else ()))), _proxies(reach))


def _concerns(about: tuple[Line, ...]) -> tuple[str, ...]:
    width = max((len(each.what) for each in about), default=0) + 1
    said = [f"  {each.what + ':':<{width}} {each.text}" for each in about]
    return ("\n".join(["Concerns:", *said]),) if said else ()


def _changes(history: History) -> str:
    """The last three, the newest first."""
    if not history.revisions:
        return "Changes: not remembered any more"
    last = reversed(history.revisions[-SHOWN_CHANGES:])
    lines = [f"  {utc(each.time)} {each.author or 'somebody'}: {each.summary} ({each.revision})" for each in last]
    more = len(history.revisions) - len(lines)
    tail = [f"  and {more} before that: istioctl history shows them"] if more > 0 else []
    return "\n".join(["Changes (revision):", *lines, *tail])


def _proxies(reach: Reach) -> str:
    have = len(reach.those("ACKNOWLEDGED"))
    since = f"in force since generation {reach.generation}" if reach.generation else "not in force yet"
    if reach.refused:
        since = "out of force until it changes, its last good version in force: a proxy refused it"
    head = f"Proxies: {have} of {len(reach.proxies) + len(reach.absent)} have acknowledged it; {since}"
    others = (
        f"  {each.workload}: {each.state} {' '.join(each.reason.split())}".rstrip()
        for each in reach.proxies
        if each.state != "ACKNOWLEDGED"
    )
    return "\n".join([head, *others, *(f"  {each}: NOT CONNECTED" for each in reach.absent)])
