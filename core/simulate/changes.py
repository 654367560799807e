"""What rules do to headers, done: one step after the other, each sets, adds, then removes."""

import re
from collections.abc import Iterable

from core.ir.values import HeaderOps
from core.simulate.call import Pairs
from core.simulate.request import Request

_COMMAND = re.compile(r"%%|%REQ\(([^)?]+)(?:\?([^)]+))?\)%")


def changed(headers: Pairs, steps: Iterable[HeaderOps], *, request: Request) -> Pairs:
    """The headers after all steps, repeated ones side by side. Of Envoy's commands only %REQ% is carried out."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name.lower(), []).append(value)
    for ops in steps:
        _change(found, ops, request)
    return tuple((name, value) for name, values in found.items() for value in values)


def _change(headers: dict[str, list[str]], ops: HeaderOps, request: Request) -> None:
    for name, value in ops.set:
        headers[name.lower()] = [formatted(value, request)]
    for name, value in ops.add:
        headers.setdefault(name.lower(), []).append(formatted(value, request))
    for name in ops.remove:
        headers.pop(name.lower(), None)


def formatted(template: str, request: Request) -> str:
    """A header value as Envoy fills it in: of repeated headers the first; a missing one leaves nothing."""

    def one(found: re.Match[str]) -> str:
        values = [value for name in found.groups() if name for value in _named(request, name.lower())]
        return values[0] if values else "" if found[1] else "%"

    return _COMMAND.sub(one, template)


def _named(request: Request, name: str) -> list[str]:
    pseudo = {":authority": request.authority, ":path": request.target, ":method": request.method}
    return [pseudo[name]] if name in pseudo else request.values(name)


def joined(headers: Pairs) -> dict[str, str]:
    """As most applications see them: repeated ones joined by ","."""
    found: dict[str, str] = {}
    for name, value in headers:
        found[name] = f"{found[name]},{value}" if name in found else value
    return found
