"""`istioctl apply`: makes the mesh's rules what files say, all of them or none."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from istioctl.options import Where, files_option, mesh_options, namespace_option, recursive_option
from istioctl.output import say, show

if TYPE_CHECKING:
    from istioctl.applying import Step
    from istioctl.client import Api
    from istioctl.reach import Reach

PATIENCE = 30.0
"""Seconds to wait for proxies when nobody says how long."""


@click.command()
@files_option
@recursive_option
@click.option("--dry-run", is_flag=True, help="Say what would happen, and write nothing.")
@click.option(
    "--wait",
    type=click.FloatRange(0, min_open=True),
    is_flag=False,
    flag_value=PATIENCE,
    metavar="[SECONDS]",
    help=f"Until all proxies have acknowledged it. [--wait alone: {PATIENCE:g}]",
)
@namespace_option
@mesh_options
@click.pass_obj
def command(where: Where, files: tuple[Path, ...], pattern: str, dry_run: bool, wait: float | None) -> None:
    """Create or change objects from files.

    Everything is checked first, here and by the Manager: when one document is wrong, nothing is written. All of them
    are written at one moment.

    \b
    Examples:
      istioctl apply -f rule.yaml
      istioctl apply -f rules/ -R --wait=10
      cat rule.yaml | istioctl apply -n shop -f -
    """
    from istioctl.accepting import accepted, check_nothing, rehearsed
    from istioctl.applying import commit

    if dry_run and wait is not None:
        raise click.UsageError("--dry-run writes nothing that could be waited for: leave --wait out")
    wanted = accepted(files, where, pattern=pattern)
    with where.api() as api:
        steps = rehearsed(api, wanted, check_nothing)
        if dry_run:
            for step in steps:
                show(f"{step} (dry run)")
            return
        done = commit(api, steps)
        for step in done:
            show(str(step))
        if wait is not None:
            _wait(api, done, seconds=wait)


def _wait(api: Api, done: tuple[Step, ...], *, seconds: float) -> None:
    """Says how many proxies have it. Raises `MeshError` when one refused it, or the time is over."""
    from istioctl.applying import stored_now
    from istioctl.delivery import not_connected
    from istioctl.reach import reaches, wait

    began, wanted = time.monotonic(), {step.wanted.key: step.after for step in done}

    def look() -> tuple[Reach, ...]:
        status = api.status()
        wanted.update(stored_now(api, done, status.progress.documents, wanted))
        return reaches(status, wanted)

    found = wait(look, seconds=seconds)
    have, absent = len(found[0].proxies), found[0].absent
    say(f"acknowledged by {have} of {have + len(absent)} proxies after {time.monotonic() - began:.1f} s")
    if absent:
        say(not_connected(absent))
