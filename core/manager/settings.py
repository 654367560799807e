"""The Manager's settings: one frozen record, built once, by whoever starts the process."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

Scalar = str | int | float | bool | None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`state` is the state directory. `platform` names an entry point of `istio.platforms`, `options` are its settings.

    `coalesce` is how long (seconds) changes may be collected while proxies are still answering the last push.
    """

    state: Path
    platform: str = "local"
    options: Mapping[str, Scalar] = {}
    coalesce: float = 0.02
