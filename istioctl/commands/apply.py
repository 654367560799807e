"""`istioctl apply`: makes the mesh's rules what files say, all of them or none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from core.errors import Misconfigured
from istioctl.options import Where, files_option, namespace_option, recursive_option, state_dir_option
from istioctl.output import say, show

if TYPE_CHECKING:
    from istioctl.applying import Wanted
    from istioctl.checking import Checked


@click.command()
@files_option
@recursive_option
@click.option("--dry-run", is_flag=True, help="Say what would happen, and write nothing.")
@namespace_option
@state_dir_option
@click.pass_obj
def command(where: Where, files: tuple[Path, ...], pattern: str, dry_run: bool) -> None:
    """Create or change objects from files.

    Everything is checked first, here and by the Manager: when one document is wrong, nothing is written.

    \b
    Examples:
      istioctl apply -f rule.yaml
      istioctl apply -f rules/ -R --dry-run
      cat rule.yaml | istioctl apply -n shop -f -
    """
    from istioctl.applying import apply, rehearse
    from istioctl.checking import check
    from istioctl.client import Api
    from istioctl.sources import read_sources

    if not files:
        raise click.UsageError("name a file or a directory with -f, or -f - for standard input")
    checked = check(read_sources(files, pattern=pattern), namespace=where.namespace_for())
    wanted = _accept(checked, where)
    with Api(where.state_dir) as api:
        steps, refusals = rehearse(api, wanted)
        if refusals:
            _refused([line for refusal in refusals for line in refusal.lines()], len(refusals), len(wanted))
        for line in (f"{step} (dry run)" for step in steps) if dry_run else apply(api, steps):
            show(line)


def _accept(checked: tuple[Checked, ...], where: Where) -> tuple[Wanted, ...]:
    """Shows every finding. Raises `Misconfigured` when a document is wrong, or there is none."""
    from istioctl.applying import wanted_of
    from istioctl.checking import line_of

    if not checked:
        raise Misconfigured("the files hold no document", fix="istioctl validate shows what is in them")
    lines = [line_of(found) for each in checked for found in each.diagnostics]
    if invalid := sum(each.verdict == "invalid" for each in checked):
        _refused(lines, invalid, len(checked))
    for line in lines:
        say(line)
    return tuple(wanted_of(each.entry.document, where.namespace) for each in checked if each.entry.document)


def _refused(lines: list[str], wrong: int, total: int) -> None:
    """Always raises `Misconfigured`."""
    for line in lines:
        say(line)
    documents = "the document is" if total == 1 else f"{wrong} of {total} documents {'is' if wrong == 1 else 'are'}"
    raise Misconfigured(f"{documents} not valid; nothing was written", fix="correct what is said above and apply again")
