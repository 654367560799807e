"""How core reaches what it must not import: entry points. Built-in platforms have no privilege over foreign ones."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from importlib.metadata import entry_points
from typing import cast, get_type_hints

import msgspec

from core.errors import Misconfigured
from core.ports import Platform

PLATFORMS = "istio.platforms"

OpenPlatform = Callable[[object], AbstractAsyncContextManager[Platform]]


def open_platform(name: str, options: Mapping[str, object]) -> AbstractAsyncContextManager[Platform]:
    """The platform that the entry point `name` opens, with `options` read as its settings type.

    Raises `Misconfigured` for an unknown platform, or options that its settings do not take.
    """
    found = {entry.name: entry for entry in entry_points(group=PLATFORMS)}
    if name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise Misconfigured(f"no platform {name!r} is installed; there are: {known}", fix="install its extra")
    opener = cast(OpenPlatform, found[name].load())
    settings_type = get_type_hints(opener)["settings"]
    try:
        settings = msgspec.convert(dict(options), settings_type, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise Misconfigured(f"settings of platform {name!r}: {error}") from error
    return opener(settings)


def _decode(type_: type, value: object) -> object:
    """Types that JSON has no form for, such as `Path`, are made from their text."""
    return type_(value)
