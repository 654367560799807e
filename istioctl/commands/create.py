"""`istioctl create`: as `apply`, for objects that must not exist yet."""

from __future__ import annotations

from pathlib import Path

import click

from istioctl.options import Where, files_option, mesh_options, namespace_option, recursive_option


@click.command()
@files_option
@recursive_option
@click.option("--dry-run", is_flag=True, help="Say what would happen, and write nothing.")
@namespace_option
@mesh_options
@click.pass_obj
def command(where: Where, files: tuple[Path, ...], pattern: str, dry_run: bool) -> None:
    """Create objects from files.

    When one of them exists already, nothing is written. Otherwise as apply: all of them at one moment, or none.

    \b
    Examples:
      istioctl create -f rule.yaml
      istioctl create -f rules/ -R --dry-run
    """
    from istioctl.accepting import check_new
    from istioctl.writing import Asked, write

    write(where, Asked(files, pattern, dry_run), check_new)
