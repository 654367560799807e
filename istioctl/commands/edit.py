"""`istioctl edit`: an object in an editor, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from core.errors import NotFound
from istioctl import completing
from istioctl.options import Where, namespace_option, state_dir_option
from istioctl.output import say, show

if TYPE_CHECKING:
    from core.kinds.kind import Kind
    from istioctl.client import Api


@click.command()
@click.argument("kind", shell_complete=completing.kinds)
@click.argument("name", shell_complete=completing.names)
@namespace_option
@state_dir_option
@click.pass_obj
def command(where: Where, kind: str, name: str) -> None:
    """Change an object in your editor.

    That is $VISUAL, $EDITOR, or vi. What is wrong with the text is written above it, and the editor opens again; saved
    without a change, or empty, nothing happens. What somebody else changed meanwhile is not overwritten.

    \b
    Examples:
      istioctl edit virtualservice reviews
      istioctl edit dr reviews -n shop
    """
    from istioctl.client import Api
    from istioctl.names import find_kind

    found = find_kind(kind)
    with Api(where.state_dir) as api:
        outcome = _edited(api, found, where.namespace_for(found.namespace), name)
    if outcome:
        show(outcome)
    else:
        say("nothing was changed")


def _edited(api: Api, kind: Kind, namespace: str, name: str) -> str:
    from istioctl.editing import edited

    stored = api.find(kind, namespace, name)
    if stored is None:
        fix = f"istioctl get {kind.plural} -A shows what there is"
        raise NotFound(f'there is no {kind.kind.lower()} "{name}" in namespace {namespace}', fix=fix)
    return edited(api, kind, stored)
