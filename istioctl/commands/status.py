"""`istioctl status`: which proxies live by a document, which not yet, and which refused it and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from core.errors import NotFound
from istioctl import completing
from istioctl.options import Where, namespace_option, output_option, state_dir_option
from istioctl.output import as_json, as_yaml, say, show, table

if TYPE_CHECKING:
    from core.manager.api.objects import ValidationMessage
    from core.manager.status import MeshStatus
    from istioctl.client import Api
    from istioctl.reach import Reach


@click.command()
@click.argument("what", metavar="[KIND NAME]", nargs=-1, shell_complete=completing.kind_then_names)
@output_option("table", "json", "yaml")
@namespace_option
@state_dir_option
@click.pass_obj
def command(where: Where, what: tuple[str, ...], output: str) -> None:
    """Show which proxies have acknowledged objects.

    ACKNOWLEDGED: the proxy has what the object became, or is not concerned. WAITING: it has not answered yet. REFUSED:
    it would not take it; the object's last good version is in force. Without KIND and NAME all objects, a line each.

    \b
    Examples:
      istioctl status
      istioctl status virtualservice reviews
      istioctl status vs reviews -n shop -o json
    """
    from istioctl.client import Api
    from istioctl.reach import reaches

    if len(what) not in (0, 2):
        raise click.UsageError("name one object by KIND and NAME, or none")
    with Api(where.state_dir) as api:
        if what:
            _one(api, where, *what, output=output)
            return
        status = api.status()
    found = reaches(status, {each.document: each.revision for each in status.progress.documents})
    if output != "table":
        show(_text(found, output))
    elif found:
        show(_overview(found))
    else:
        say("no object is in force")


def _one(api: Api, where: Where, kind: str, name: str, *, output: str) -> None:
    from core.model.config import ConfigKey
    from istioctl.names import find_kind
    from istioctl.reach import reaches

    found = find_kind(kind)
    namespace = where.namespace_for(found.namespace)
    stored = api.find(found, namespace, name)
    if stored is None:
        fix = f"istioctl get {found.plural} -A shows what there is"
        raise NotFound(f'there is no {found.kind.lower()} "{name}" in namespace {namespace}', fix=fix)
    status, key = api.status(), ConfigKey(found.group, found.kind, namespace, name)
    (reach,) = reaches(status, {key: stored.metadata.resource_version})
    show(_details(reach, status) if output == "table" else _text(reach, output))
    for each in stored.status.validation_messages:
        say(_finding(each))


def _overview(found: tuple[Reach, ...]) -> str:
    rows = ((str(each), each.revision, str(each.generation), _share(each), _word(each)) for each in found)
    return table(("OBJECT", "REVISION", "GENERATION", "PROXIES", "STATE"), rows)


def _share(reach: Reach) -> str:
    return f"{len(reach.those('ACKNOWLEDGED'))}/{len(reach.proxies)}"


def _word(reach: Reach) -> str:
    if reach.refused:
        return "REFUSED"
    return "ACKNOWLEDGED" if reach.acknowledged else "WAITING"


def _details(reach: Reach, status: MeshStatus) -> str:
    since = f"in force since generation {reach.generation}" if reach.generation else "not in force yet"
    if reach.refused:
        since = "out of force until it changes: a proxy refused it"
    head = f"{reach} at revision {reach.revision}: {since} (the newest is {status.progress.generation})"
    if not reach.proxies:
        return f"{head}\n\nno proxy is connected"
    rows = ((each.workload, each.state, " ".join(each.reason.split()) or "-") for each in reach.proxies)
    return f"{head}\n\n" + table(("PROXY", "STATE", "REASON"), rows)


def _finding(message: ValidationMessage) -> str:
    said = f"{message.level.capitalize()} [{message.type.code}] {message.field}: {message.message}"
    return f"{said}; {message.fix}" if message.fix else said


def _text(value: object, output: str) -> str:
    return (as_json if output == "json" else as_yaml)(value)
