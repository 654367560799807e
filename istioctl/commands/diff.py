"""`istioctl diff`: what `apply` would change."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from istioctl.options import Where, files_option, mesh_options, namespace_option, recursive_option
from istioctl.output import show

if TYPE_CHECKING:
    from istioctl.applying import Wanted
    from istioctl.client import Api


@click.command()
@files_option
@recursive_option
@namespace_option
@mesh_options
@click.pass_obj
def command(where: Where, files: tuple[Path, ...], pattern: str) -> None:
    """Show how stored objects differ from files.

    A unified diff: - is stored, + is what the files say. Exit code 0: apply would change nothing. 1: it would, or the
    files are not valid.

    \b
    Examples:
      istioctl diff -f rule.yaml
      cat rule.yaml | istioctl diff -n shop -f -
    """
    from istioctl.accepting import accepted

    wanted = accepted(files, where, pattern=pattern)
    with where.api() as api:
        found = [text for text in (_difference(api, each) for each in wanted) if text]
    if found:
        show("\n".join(found))
    sys.exit(bool(found))


def _difference(api: Api, wanted: Wanted) -> str:
    from istioctl.differing import difference

    metadata = wanted.resource.metadata
    stored = api.find(wanted.kind, metadata.namespace, metadata.name)
    name = f"{metadata.namespace}/{wanted}"
    return difference(stored, wanted.resource, names=(f"stored/{name}", f"{wanted.source}/{name}"))
