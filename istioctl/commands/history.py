"""`istioctl history`: who changed an object when, and what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from istioctl import completing
from istioctl.findings import finding_line
from istioctl.options import Where, mesh_options, namespace_option, output_option
from istioctl.output import as_json, as_yaml, say, show, table, utc

if TYPE_CHECKING:
    from core.manager.api.histories import History


@click.command()
@click.argument("kind", shell_complete=completing.kinds)
@click.argument("name", shell_complete=completing.names)
@click.option("--diff", "differences", is_flag=True, help="Show each change in full, as a unified diff of YAML.")
@output_option("table", "json", "yaml")
@namespace_option
@mesh_options
@click.pass_obj
def command(where: Where, kind: str, name: str, differences: bool, output: str) -> None:
    """Show who changed an object when, and what.

    The newest change is last. FINDINGS is what the Manager found wrong with the object while it was so; what it finds
    now is said in full below. Also of objects that are deleted, as long as the store remembers them: 10,000 changes,
    for 30 days.

    \b
    Examples:
      istioctl history virtualservice reviews
      istioctl history vs reviews --diff
      istioctl history vs reviews -n shop -o yaml
    """
    from istioctl.names import find_kind

    if differences and output != "table":
        raise click.UsageError(f"-o {output} has every revision in full: leave --diff out")
    found = find_kind(kind)
    with where.api() as api:
        history = api.history(found, where.namespace_for(found.namespace), name)
    if output != "table":
        show((as_json if output == "json" else as_yaml)(history))
        return
    show(_changes(history) if differences else _table(history))
    for each in history.findings:
        say(finding_line(each))


def _table(history: History) -> str:
    from istioctl.listing import verdict

    rows = (
        (each.revision, utc(each.time), each.author or "-", each.change, verdict(each.findings), each.summary)
        for each in history.revisions
    )
    return table(("REVISION", "TIME", "AUTHOR", "CHANGE", "FINDINGS", "WHAT"), rows)


def _changes(history: History) -> str:
    """A line about each, and what is different then."""
    from istioctl.differing import difference

    blocks, before, name = [], history.before, "before"
    for each in history.revisions:
        head = f"revision {each.revision}, {utc(each.time)}, by {each.author or 'somebody'}: {each.change}"
        lines = [head, *(f"  {finding_line(found)}" for found in each.findings)]
        if text := difference(before, each.object, names=(name, f"revision {each.revision}")):
            lines.append(text)
        blocks.append("\n".join(lines))
        before, name = each.object, f"revision {each.revision}"
    return "\n\n".join(blocks)
