"""`istioctl history`: who changed an object when, and what."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from istioctl import completing
from istioctl.options import Where, namespace_option, output_option, state_dir_option
from istioctl.output import as_json, as_yaml, say, show, table

if TYPE_CHECKING:
    from core.manager.api.histories import History


@click.command()
@click.argument("kind", shell_complete=completing.kinds)
@click.argument("name", shell_complete=completing.names)
@output_option("table", "json", "yaml")
@namespace_option
@state_dir_option
@click.pass_obj
def command(where: Where, kind: str, name: str, output: str) -> None:
    """Show who changed an object when, and what.

    The newest change is last. What the Manager finds wrong with the object now is said below it. Also of objects that
    are deleted, as long as the store remembers them: 10,000 changes, for 30 days.

    \b
    Examples:
      istioctl history virtualservice reviews
      istioctl history vs reviews -n shop -o yaml
    """
    from istioctl.client import Api
    from istioctl.names import find_kind

    found = find_kind(kind)
    with Api(where.state_dir) as api:
        history = api.history(found, where.namespace_for(found.namespace), name)
    if output != "table":
        show((as_json if output == "json" else as_yaml)(history))
        return
    show(_table(history))
    for each in history.findings:
        said = f"{each.level.capitalize()} [{each.type.code}] {each.field}: {each.message}"
        say(f"{said}; {each.fix}" if each.fix else said)


def _table(history: History) -> str:
    rows = (
        (each.revision, _time(each.time), each.author or "-", each.change, each.summary) for each in history.revisions
    )
    return table(("REVISION", "TIME", "AUTHOR", "CHANGE", "WHAT"), rows)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M:%SZ")
