"""What `create` and `replace` do: as `apply`, where what is stored already has a say in whether it is done at all."""

from pathlib import Path
from typing import NamedTuple

from istioctl.accepting import Check, accepted, rehearsed
from istioctl.applying import commit
from istioctl.options import Where
from istioctl.output import show


class Asked(NamedTuple):
    """On the command line; `pattern` is for directories."""

    files: tuple[Path, ...]
    pattern: str
    dry_run: bool


def write(where: Where, asked: Asked, check: Check) -> None:
    """All of them at one moment, upon what was there when `check` looked. Raises `MeshError` before that."""
    wanted = accepted(asked.files, where, pattern=asked.pattern)
    with where.api() as api:
        steps = rehearsed(api, wanted, check)
        done = steps if asked.dry_run else commit(api, steps, attempts=1)
    for step in done:
        show(f"{step} (dry run)" if asked.dry_run else str(step))
