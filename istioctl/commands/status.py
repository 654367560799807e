"""`istioctl status`: which proxies live by a document, which not yet, and which refused it and why."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from core.errors import Unavailable
from istioctl import completing
from istioctl.findings import finding_line
from istioctl.options import Where, mesh_options, namespace_option, output_option
from istioctl.output import Rows, as_json, as_yaml, say, show, table

if TYPE_CHECKING:
    from core.manager.api.objects import Resource
    from core.manager.status import MeshStatus
    from core.model.config import ConfigKey
    from istioctl.client import Api
    from istioctl.reach import Reach


HEADERS = ("OBJECT", "REVISION", "GENERATION", "PROXIES", "STATE")
PAUSE = 0.2
"""Seconds between two looks of -w."""


@click.command()
@click.argument("what", metavar="[KIND [NAME]...]", nargs=-1, shell_complete=completing.kind_then_names)
@click.option("-w", "--watch", is_flag=True, help="And then a line for each change, until Ctrl-C.")
@output_option("table", "json", "yaml")
@namespace_option
@mesh_options
@click.pass_obj
def command(where: Where, what: tuple[str, ...], watch: bool, output: str) -> None:
    """Show which proxies have acknowledged objects.

    ACKNOWLEDGED: the proxy has what the object became, or is not concerned. WAITING: it has not answered yet. REFUSED:
    it would not take it; the object's last good version is in force. One object by KIND and NAME with a line for each
    proxy; several, all of a KIND, or without KIND all that are in force, with a line for each object.

    \b
    Examples:
      istioctl status
      istioctl status vs reviews -n shop -o json
      istioctl status vs -w
    """
    from istioctl.reader import while_read

    with where.api() as api:
        if watch:
            with while_read():
                _follow(api, where, what, output=output)
        elif len(what) == 2:
            _one(api, where, *what, output=output)
        else:
            found = _several(api, where, what)
            _show(found, output) if found or output != "table" else say("no such object is in force")


def _several(api: Api, where: Where, what: tuple[str, ...]) -> tuple[Reach, ...]:
    """Of the names, they have to be stored; of a kind or all of them, what the Manager has taken up."""
    from istioctl.names import find_kinds
    from istioctl.reach import reaches

    if len(what) > 1:
        named = [_stored(api, where, what[0], name) for name in dict.fromkeys(what[1:])]
        wanted = {key: resource.metadata.resource_version for key, resource in named}
        return reaches(api.status(), wanted)
    status = api.status()
    kinds = [kind.kind for kind in find_kinds(what[0])] if what else []
    documents = (each for each in status.progress.documents if not kinds or each.document.kind in kinds)
    inside = (each for each in documents if where.namespace in (None, each.document.namespace))
    return reaches(status, {each.document: each.revision for each in inside})


def _stored(api: Api, where: Where, kind: str, name: str) -> tuple[ConfigKey, Resource]:
    from core.model.config import ConfigKey
    from istioctl.finding import stored
    from istioctl.names import find_kind

    found = find_kind(kind)
    namespace = where.namespace_for(found.namespace)
    return ConfigKey(found.group, found.kind, namespace, name), stored(api, found, namespace, name)


def _follow(api: Api, where: Where, what: tuple[str, ...], *, output: str) -> None:
    """Each object when it stands differently from before, also from before a Manager went away."""
    from istioctl.watching import Absence

    rows, absence = Rows(HEADERS), Absence(say)
    before: dict[str, Reach] = {}
    while True:
        try:
            now = {str(each): each for each in _several(api, where, what)}
        except Unavailable as error:
            if not before:
                raise
            absence.wait(error)
            continue
        absence.over()
        changed = [each for name, each in now.items() if before.get(name) != each]
        if changed:
            show(rows.text(map(_row, changed)) if output == "table" else _stream(changed, output))
        for name in before.keys() - now.keys():
            say(f"{name} is gone")
        before = now
        time.sleep(PAUSE)


def _stream(changed: list[Reach], output: str) -> str:
    mark = "---\n" if output == "yaml" else ""
    return "\n".join(mark + _text(each, output) for each in changed)


def _one(api: Api, where: Where, kind: str, name: str, *, output: str) -> None:
    from istioctl.reach import reaches

    key, resource = _stored(api, where, kind, name)
    status = api.status()
    (reach,) = reaches(status, {key: resource.metadata.resource_version})
    show(_details(reach, status) if output == "table" else _text(reach, output))
    for each in resource.status.validation_messages:
        say(finding_line(each))


def _show(found: tuple[Reach, ...], output: str) -> None:
    show(table(HEADERS, map(_row, found)) if output == "table" else _text(found, output))
    if found[:1] and found[0].absent:
        from istioctl.delivery import not_connected

        say(not_connected(found[0].absent))


def _row(reach: Reach) -> tuple[str, ...]:
    return (str(reach), reach.revision, str(reach.generation), _share(reach), _word(reach))


def _share(reach: Reach) -> str:
    return f"{len(reach.those('ACKNOWLEDGED'))}/{len(reach.proxies) + len(reach.absent)}"


def _word(reach: Reach) -> str:
    if reach.refused:
        return "REFUSED"
    return "ACKNOWLEDGED" if reach.acknowledged else "WAITING"


def _details(reach: Reach, status: MeshStatus) -> str:
    since = f"in force since generation {reach.generation}" if reach.generation else "not in force yet"
    if reach.refused:
        since = "out of force until it changes, its last good version in force: a proxy refused it"
    head = f"{reach} at revision {reach.revision}: {since} (the newest is {status.progress.generation})"
    if not (reach.proxies or reach.absent):
        return f"{head}\n\nno proxy is connected"
    rows = [(each.workload, str(each.state), " ".join(each.reason.split()) or "-") for each in reach.proxies]
    rows += [(each, "NOT CONNECTED", "-") for each in reach.absent]
    return f"{head}\n\n" + table(("PROXY", "STATE", "REASON"), rows)


def _text(value: object, output: str) -> str:
    return (as_json if output == "json" else as_yaml)(value)
