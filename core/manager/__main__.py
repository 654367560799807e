"""`python -m core.manager SETTINGS`: one JSON document; says "ready" when it serves, and serves until SIGTERM."""

import asyncio
import logging
import os
import sys
from collections.abc import Iterator

import msgspec

from core.errors import MeshError
from core.manager.process import run
from core.manager.settings import Settings


def main() -> int:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    settings = msgspec.json.decode(sys.argv[1], type=Settings, dec_hook=_decode)
    failed: list[BaseException] = []
    try:
        asyncio.run(run(settings))
    except* MeshError as group:
        failed.extend(_leaves(group))
    for error in failed:
        fix = getattr(error, "fix", "")
        print(f"error: {error}" + (f"{os.linesep}fix:   {fix}" if fix else ""), file=sys.stderr)
    return 1 if failed else 0


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors themselves, out of the groups that task groups put around each other."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _decode(type_: type, value: object) -> object:
    """`Path` has no form of its own in JSON."""
    return type_(value)


if __name__ == "__main__":
    sys.exit(main())
