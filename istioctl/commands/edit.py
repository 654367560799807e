"""`istioctl edit`: an object in an editor, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from istioctl import completing
from istioctl.options import Where, mesh_options, namespace_option
from istioctl.output import say, show

if TYPE_CHECKING:
    from core.kinds.kind import Kind
    from istioctl.client import Api


@click.command()
@click.argument("kind", shell_complete=completing.kinds)
@click.argument("name", shell_complete=completing.names)
@namespace_option
@mesh_options
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
    from istioctl.names import find_kind

    found = find_kind(kind)
    with where.api() as api:
        outcome = _edited(api, found, where.namespace_for(found.namespace), name)
    if outcome:
        show(outcome)
    else:
        say("nothing was changed")


def _edited(api: Api, kind: Kind, namespace: str, name: str) -> str:
    from istioctl.editing import edited
    from istioctl.finding import stored

    return edited(api, kind, stored(api, kind, namespace, name))
