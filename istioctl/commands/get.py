"""`istioctl get`: objects as a table, or as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from core.errors import NotFound
from istioctl import completing
from istioctl.options import Where, namespace_option, output_option, state_dir_option
from istioctl.output import say, show

if TYPE_CHECKING:
    from core.kinds.kind import Kind
    from core.manager.api.objects import Resource
    from istioctl.client import Api


@click.command()
@click.argument("kinds", metavar="KIND", shell_complete=completing.kinds)
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=completing.names)
@click.option("-A", "--all-namespaces", is_flag=True, help="Objects of every namespace.")
@output_option("table", "wide", "json", "yaml", "name")
@namespace_option
@state_dir_option
@click.pass_obj
def command(where: Where, kinds: str, names: tuple[str, ...], all_namespaces: bool, output: str) -> None:
    """Show objects.

    KIND is a plural, singular or short name in any case, several with commas, or "all".

    \b
    Examples:
      istioctl get virtualservices
      istioctl get vs,dr -A -o wide
      istioctl get vs reviews -n shop -o yaml
    """
    from istioctl.client import Api
    from istioctl.listing import Found, listing
    from istioctl.names import find_kinds

    if names and all_namespaces:
        raise click.UsageError("a NAME is looked up in one namespace: leave -A out")
    found = []
    with Api(where.state_dir) as api:
        for kind in find_kinds(kinds):
            namespace = "" if all_namespaces else where.namespace_for(kind.namespace)
            found.append(Found(kind, _find(api, kind, namespace, names), bool(names)))
    if text := listing(found, output=output, namespaces=all_namespaces):
        show(text)
    else:
        what = "objects" if kinds.lower() == "all" else kinds
        say(f"no {what} in " + ("any namespace" if all_namespaces else f"namespace {where.namespace_for()}"))


def _find(api: Api, kind: Kind, namespace: str, names: tuple[str, ...]) -> tuple[Resource, ...]:
    return tuple(_one(api, kind, namespace, name) for name in names) or api.list(kind, namespace)


def _one(api: Api, kind: Kind, namespace: str, name: str) -> Resource:
    if resource := api.find(kind, namespace, name):
        return resource
    fix = f"istioctl get {kind.plural} -A shows what there is"
    raise NotFound(f'there is no {kind.kind.lower()} "{name}" in namespace {namespace}', fix=fix)
