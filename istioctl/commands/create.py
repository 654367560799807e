"""`istioctl create`: as `apply`, for objects that must not exist yet."""

from __future__ import annotations

from pathlib import Path

import click

from istioctl.options import Where, files_option, namespace_option, recursive_option, state_dir_option
from istioctl.output import show


@click.command()
@files_option
@recursive_option
@click.option("--dry-run", is_flag=True, help="Say what would happen, and write nothing.")
@namespace_option
@state_dir_option
@click.pass_obj
def command(where: Where, files: tuple[Path, ...], pattern: str, dry_run: bool) -> None:
    """Create objects from files.

    When one of them exists already, nothing is written. Otherwise as apply: all of them at one moment, or none.

    \b
    Examples:
      istioctl create -f rule.yaml
      istioctl create -f rules/ -R --dry-run
    """
    from istioctl.accepting import accepted, check_new, check_rehearsal
    from istioctl.applying import commit, rehearse
    from istioctl.client import Api

    wanted = accepted(files, where, pattern=pattern)
    with Api(where.state_dir) as api:
        rehearsal = rehearse(api, wanted)
        check_new(rehearsal.steps)
        check_rehearsal(rehearsal)
        steps = rehearsal.steps if dry_run else commit(api, rehearsal.steps, attempts=1)
    for step in steps:
        show(f"{step} (dry run)" if dry_run else str(step))
