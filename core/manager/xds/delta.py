"""The incremental dialect (DeltaDiscoveryRequest and -Response): changes of interest in, changes of resources out."""

from functools import lru_cache
from sys import intern

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest
from google.protobuf.message import DecodeError

from core.envoy.wire import field, header, text
from core.manager.xds.channel import Channel
from core.manager.xds.exchange import BadRequest, Interest, Request, Response
from core.manager.xds.resource import ResourceType

_WILDCARD = "*"
_SMALL = 256


class Delta:
    """https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol, "Incremental xDS"."""

    def __init__(self) -> None:
        self._last: dict[ResourceType, tuple[Response, bytes]] = {}

    def decode(self, raw: bytes) -> Request:
        """Raises `BadRequest`."""
        # Acknowledgements are small and alike on all streams; others are seen once.
        return _decode_again(raw) if len(raw) <= _SMALL else _decode(raw)

    def interest(self, request: Request, channel: Channel) -> Interest | None:
        implicit = channel.type.has_wildcard and not channel.subscribed and not request.subscribe
        wildcard = channel.wildcard or implicit or _WILDCARD in request.subscribe
        return Interest(
            wildcard=wildcard and _WILDCARD not in request.unsubscribe,
            added=_without_wildcard(request.subscribe),
            dropped=_without_wildcard(request.unsubscribe),
            versions=request.versions if not channel.subscribed else {},
        )

    def encode(self, response: Response) -> bytes:
        """Streams that are told the same one after another share the bytes."""
        last = self._last.get(response.type)
        if last is None or last[0] != response:
            self._last[response.type] = last = response, _encode(response)
        return last[1]

    def sends_whole(self, type_: ResourceType) -> bool:
        """Whether a response replaces everything the proxy has of the type."""
        return False

    def tells_removals(self, type_: ResourceType) -> bool:
        """Whether a response can say that a resource is gone."""
        return True

    def says_version(self) -> bool:
        """Whether who comes back says which response it accepted last, and not what it has."""
        return False


def _decode(raw: bytes) -> Request:
    try:
        message = DeltaDiscoveryRequest.FromString(raw)
    except DecodeError as error:
        raise BadRequest(f"not a DeltaDiscoveryRequest: {error}") from error
    return Request(
        type_url=message.type_url,
        nonce=message.response_nonce,
        error=message.error_detail.message if message.HasField("error_detail") else None,
        # One string for all streams that say the same name.
        subscribe=tuple(map(intern, message.resource_names_subscribe)),
        unsubscribe=tuple(map(intern, message.resource_names_unsubscribe)),
        versions={intern(name): intern(version) for name, version in message.initial_resource_versions.items()},
        answers_only=bool(message.response_nonce)
        and not (message.resource_names_subscribe or message.resource_names_unsubscribe),
    )


def _encode(response: Response) -> bytes:
    parts = [text(1, response.version)]
    for resource in response.resources:
        body = resource.wire()
        before, after = _frame(resource.name, resource.version, len(body))
        parts += (before, body, after)
    parts += (field(4, response.type.wire_url), text(5, response.nonce))
    parts += [text(6, name) for name in response.removed]
    return b"".join(parts)


_decode_again = lru_cache(maxsize=1024)(_decode)


@lru_cache(maxsize=1 << 14)
def _frame(name: str, version: str, length: int) -> tuple[bytes, bytes]:
    """The bytes before and after a body: discovery.v3.Resource{version 1, resource 2, name 3} as field 2."""
    inner, after = text(1, version) + header(2, length), text(3, name)
    return header(2, len(inner) + length + len(after)) + inner, after


def _without_wildcard(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if name != _WILDCARD) if _WILDCARD in names else names
