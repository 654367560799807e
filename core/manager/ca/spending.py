"""Remembers which tokens were used: a file each, so that of several processes exactly one is the first."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from core.errors import Unavailable
from core.manager.ca.private import directory, sync, write

_MARGIN: Final = 24 * 3600
"""Seconds that a record outlives its token: a clock may be set back."""


class Spending:
    """The records in a directory, which Managers may share."""

    def __init__(self, where: Path) -> None:
        self._where = where

    def spend(self, token: str, *, expires: int) -> bool:
        """Whether this is the first time; it is on disk when this returns, whatever happens next.

        Blocks. Raises `Unavailable` when it cannot be remembered: then nobody may have the certificate.
        """
        try:
            place = directory(self._where)
            write(place / f"{expires}-{token}", b"")
            sync(place)
        except FileExistsError:
            return False
        except OSError as error:
            reason = error.strerror or str(error)
            fix = f"make room in, or access to, {self._where}"
            raise Unavailable(f"the use of a token cannot be recorded: {reason}", fix=fix) from error
        return True

    def clean(self, *, now: float) -> None:
        """Forgets tokens that are over, for some time already. Blocks."""
        for path in list(self._over(now - _MARGIN)):
            path.unlink(missing_ok=True)

    def _over(self, before: float) -> Iterator[Path]:
        if not self._where.is_dir():
            return
        with os.scandir(self._where) as entries:
            for entry in entries:
                expires, dash, _ = entry.name.partition("-")
                if dash and expires.isdecimal() and int(expires) < before:
                    yield Path(entry.path)
