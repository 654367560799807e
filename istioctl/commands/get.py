"""`istioctl get`: objects as a table, or as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from istioctl import completing
from istioctl.options import Where, mesh_options, namespace_option, output_option
from istioctl.output import say, show

if TYPE_CHECKING:
    from core.kinds.kind import Kind
    from core.manager.api.objects import Resource
    from istioctl.client import Api


@click.command()
@click.argument("kinds", metavar="KIND", shell_complete=completing.kinds)
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=completing.names)
@click.option("-A", "--all-namespaces", is_flag=True, help="Objects of every namespace.")
@click.option("-w", "--watch", "watch", flag_value="all", help="And then every change, until Ctrl-C.")
@click.option("--watch-only", "watch", flag_value="changes", help="Changes only, until Ctrl-C.")
@click.option("--output-watch-events", "events", is_flag=True, help="With -w: say ADDED, MODIFIED or DELETED, too.")
@output_option("table", "wide", "json", "yaml", "name")
@namespace_option
@mesh_options
@click.pass_obj
def command(
    where: Where, /, kinds: str, names: tuple[str, ...], all_namespaces: bool, output: str, **watching: Any
) -> None:
    """Show objects.

    KIND is a plural, singular or short name in any case, several with commas, or "all". With -w a line, or an object,
    for each change follows; a Manager that is started again meanwhile is waited for, and the watch goes on.

    \b
    Examples:
      istioctl get vs,dr -A -o wide
      istioctl get vs reviews -n shop -o yaml
      istioctl get vs -w --output-watch-events
    """
    from istioctl.names import find_kinds

    if names and all_namespaces:
        raise click.UsageError("a NAME is looked up in one namespace: leave -A out")
    found = find_kinds(kinds)
    if not watching["watch"]:
        _list(where, found, names, output=output, everywhere=all_namespaces)
        return
    if len(found) > 1 or len(names) > 1:
        raise click.UsageError("-w watches one kind, and one object of it or all: leave the others out")
    namespace = "" if all_namespaces else where.namespace_for(found[0].namespace)
    _watch(where, found[0], (namespace, *names), output=output, **watching)


def _list(where: Where, kinds: tuple[Kind, ...], names: tuple[str, ...], *, output: str, everywhere: bool) -> None:
    from istioctl.listing import Found, listing

    found = []
    with where.api() as api:
        for kind in kinds:
            namespace = "" if everywhere else where.namespace_for(kind.namespace)
            found.append(Found(kind, _find(api, kind, namespace, names), bool(names)))
    if text := listing(found, output=output, namespaces=everywhere):
        show(text)
    else:
        what = kinds[0].plural if len(kinds) == 1 else "objects"
        say(f"no {what} in " + ("any namespace" if everywhere else f"namespace {where.namespace_for()}"))


def _watch(where: Where, kind: Kind, place: tuple[str, ...], *, output: str, watch: str, events: bool) -> None:
    """Until Ctrl-C, or until nobody reads any more."""
    from istioctl.finding import missing
    from istioctl.reader import while_read
    from istioctl.streaming import printer
    from istioctl.watching import Change, Subject, Watcher

    text = printer(kind, output=output, namespaces=not place[0], events=events)
    with while_read(), where.api() as api:
        watcher = Watcher(api, Subject(kind, *place), say=say)
        found = watcher.begin()
        if len(place) > 1 and not found:
            raise missing(api, kind, *place)
        if found and watch == "all":
            show(text(Change("ADDED", each) for each in found))
        for change in watcher.changes():
            show(text([change]))


def _find(api: Api, kind: Kind, namespace: str, names: tuple[str, ...]) -> tuple[Resource, ...]:
    from istioctl.finding import stored

    return tuple(stored(api, kind, namespace, name) for name in names) or api.list(kind, namespace)
