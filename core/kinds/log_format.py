"""Whether an access log format is one that Envoy takes: a format it refuses would keep every listener from changing."""

from collections.abc import Iterator

import msgspec

from core.kinds import formats

_EXAMPLE = 'an object such as {"method": "%REQ(:METHOD)%"}'


def problem(text: str, encoding: str) -> tuple[str, str]:
    """What Envoy would refuse, and the fix; two empty texts when it takes `text`, of the encoding `TEXT` or `JSON`."""
    if not text or encoding == "TEXT":
        return formats.problem(text)
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        return f"it is not JSON: {error}", f"write {_EXAMPLE}, or take accessLogEncoding out"
    if not isinstance(found, dict):
        return "it is no JSON object", f"write {_EXAMPLE}"
    return next((wrong for each in _texts(found) if any(wrong := formats.problem(each))), ("", ""))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)
