"""Changes of headers, as the arguments that routes and weighted clusters share."""

from collections.abc import Iterator

from envoy.config.core.v3 import base_pb2

from core.ir.values import HeaderOps, Headers

_AUTHORITY = frozenset({"host", ":authority"})
_OVERWRITE = base_pb2.HeaderValueOption.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
_APPEND = base_pb2.HeaderValueOption.HeaderAppendAction.APPEND_IF_EXISTS_OR_ADD

Mutations = dict[str, list[base_pb2.HeaderValueOption] | list[str]]


def mutations(*steps: Headers) -> Mutations:
    """One step after the other, as keyword arguments `request_headers_to_add` and so on; empty ones left out."""
    request, response = [step.request for step in steps], [step.response for step in steps]
    every: Mutations = {
        "request_headers_to_add": list(_additions(request)),
        "request_headers_to_remove": _removals(request),
        "response_headers_to_add": list(_additions(response)),
        "response_headers_to_remove": _removals(response),
    }
    return {name: value for name, value in every.items() if value}


def authority(headers: Headers) -> str:
    """The host that requests are given by setting their Host header; Envoy has a field of its own for that."""
    return next((value for name, value in headers.request.set if name.lower() in _AUTHORITY), "")


def _additions(steps: list[HeaderOps]) -> Iterator[base_pb2.HeaderValueOption]:
    for number, ops in enumerate(steps):
        # Envoy removes, then overwrites, then appends, whatever the order here; so what a later step removes or
        # overwrites is not added in the first place.
        dropped = _AUTHORITY.union(name.lower() for name in _removals(steps[number:]))
        overwritten = {name.lower() for later in steps[number + 1 :] for name, _ in later.set}
        appended = (pair for pair in ops.add if pair[0].lower() not in overwritten)
        actions = [(_OVERWRITE, pair) for pair in ops.set] + [(_APPEND, pair) for pair in appended]
        yield from (_option(name, value, action) for action, (name, value) in actions if name.lower() not in dropped)


def _removals(steps: list[HeaderOps]) -> list[str]:
    return list(dict.fromkeys(name for ops in steps for name in ops.remove))


def _option(name: str, value: str, action: int) -> base_pb2.HeaderValueOption:
    header = base_pb2.HeaderValue(key=name, value=value)
    # Rules may ask for an empty value; Envoy would leave the header out.
    return base_pb2.HeaderValueOption(header=header, append_action=action, keep_empty_value=True)
