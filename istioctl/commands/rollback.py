"""`istioctl rollback`: makes an object again what it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from core.errors import Conflict, Misconfigured
from istioctl import completing
from istioctl.options import Where, mesh_options, namespace_option, output_option
from istioctl.output import as_json, as_yaml, say, show

if TYPE_CHECKING:
    from istioctl.applying import Step, Wanted
    from istioctl.client import Api
    from istioctl.rolling import Rollback


@click.command()
@click.argument("kind", shell_complete=completing.kinds)
@click.argument("name", shell_complete=completing.names)
@click.option(
    "--to",
    metavar="REVISION",
    default="",
    shell_complete=completing.revisions,
    help="As history shows it. [default: before the last change]",
)
@click.option("--dry-run", is_flag=True, help="Print what would be applied, and write nothing.")
@output_option("yaml", "json")
@namespace_option
@mesh_options
@click.pass_obj
def command(where: Where, kind: str, name: str, to: str, dry_run: bool, output: str) -> None:
    """Make an object again what it was.

    A rollback is a change like any other: it can be rolled back. What was applied goes to stdout, the difference to
    stderr. An object that was deleted comes back.

    \b
    Examples:
      istioctl rollback virtualservice reviews
      istioctl rollback vs reviews --to 17 --dry-run
    """
    from istioctl.applying import Wanted
    from istioctl.differing import difference
    from istioctl.names import find_kind
    from istioctl.rolling import rollback

    found = find_kind(kind)
    with where.api() as api:
        history = api.history(found, where.namespace_for(found.namespace), name)
        back = rollback(history, found, name=name, to=to)
        names = ("now", f"revision {back.revision}" if back.revision else "before")
        say(difference(back.now, back.wanted, names=names) or "it says that already")
        step = _rehearsed(api, Wanted(found, back.wanted, names[1]))
        if not dry_run:
            step = _written(api, step, back)
    show((as_json if output == "json" else as_yaml)(back.wanted))
    say("(dry run: nothing was written)" if dry_run else str(step))


def _rehearsed(api: Api, wanted: Wanted) -> Step:
    """Raises `Misconfigured` when the Manager would not take it any more."""
    from istioctl.applying import rehearse

    steps, refusals = rehearse(api, (wanted,))
    for line in (line for refusal in refusals for line in refusal.lines()):
        say(line)
    if refusals:
        fix = "istioctl history -o yaml has the object: correct what is said above, and istioctl apply -f it"
        raise Misconfigured("the Manager does not accept what was valid then; nothing was written", fix=fix)
    return steps[0]


def _written(api: Api, step: Step, back: Rollback) -> Step:
    """Onto what was compared, and nothing newer. Raises `Conflict`."""
    from istioctl.applying import commit

    revision = back.now.metadata.resource_version if back.now else ""
    try:
        return commit(api, (step._replace(revision=revision),), attempts=1)[0]
    except Conflict as error:
        text = f"somebody else changed {step.wanted} meanwhile; nothing was written"
        raise Conflict(text, fix="do it again") from error
