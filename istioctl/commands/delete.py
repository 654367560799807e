"""`istioctl delete`: removes objects, by name or by the files that they came from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from core.errors import Misconfigured, NotFound
from istioctl import completing
from istioctl.options import Where, files_option, mesh_options, namespace_option, recursive_option
from istioctl.output import complain_of, say, show

if TYPE_CHECKING:
    from istioctl.applying import Doomed


@click.command()
@click.argument("what", metavar="[KIND NAME...]", nargs=-1, shell_complete=completing.kind_then_names)
@files_option
@recursive_option
@click.option("--ignore-not-found", is_flag=True, help="An object that is not there is fine.")
@namespace_option
@mesh_options
@click.pass_obj
def command(where: Where, what: tuple[str, ...], files: tuple[Path, ...], pattern: str, ignore_not_found: bool) -> None:
    """Remove objects.

    Named by kind and name, or as the files name them, all at one moment. What is not there does not keep the rest.

    \b
    Examples:
      istioctl delete virtualservice reviews
      istioctl delete dr reviews ratings -n shop
      istioctl delete -f rule.yaml --ignore-not-found
    """
    from istioctl.applying import remove

    if bool(files) == bool(what) or len(what) == 1:
        raise click.UsageError("say what to delete: either KIND and NAME, or files with -f")
    doomed = _named(where, *what) if what else _written(where, files, pattern)
    with where.api() as api:
        removed, missing = remove(api, doomed)
    for each in removed:
        show(f"{each} deleted")
    for each in () if ignore_not_found else missing:
        complain_of(NotFound(f"{each} not found in namespace {each.key.namespace}", fix=_look(each)))
    sys.exit(bool(missing) and not ignore_not_found)


def _look(doomed: Doomed) -> str:
    return f"istioctl get {doomed.kind.plural} -A shows what there is"


def _named(where: Where, kind: str, *names: str) -> list[Doomed]:
    from core.model.config import ConfigKey
    from istioctl.applying import Doomed
    from istioctl.names import find_kind

    found = find_kind(kind)
    namespace = where.namespace_for(found.namespace)
    return [Doomed(found, ConfigKey(found.group, found.kind, namespace, name)) for name in dict.fromkeys(names)]


def _written(where: Where, files: tuple[Path, ...], pattern: str) -> list[Doomed]:
    """A document may be wrong in itself, as long as it says its kind and name. Raises `Misconfigured` otherwise."""
    from core.kinds.decode import read
    from core.kinds.registry import find
    from istioctl.applying import Doomed
    from istioctl.checking import line_of
    from istioctl.sources import read_sources

    sources = read_sources(files, pattern=pattern)
    entries = [e for s in sources for e in read(s.text, file=s.name, default_namespace=where.namespace_for())]
    nameless = [found for entry in entries if entry.key is None for found in entry.diagnostics]
    for found in nameless:
        say(line_of(found))
    if nameless:
        raise Misconfigured("a document does not say what it is; nothing was deleted")
    keys = dict.fromkeys(entry.key for entry in entries if entry.key)
    return [Doomed(kind, key) for key in keys if (kind := find(key.group, key.kind))]
