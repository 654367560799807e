"""The state-of-the-world dialect (DiscoveryRequest and -Response), for clients that know no other, like gRPC's own."""

from sys import intern

from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest
from google.protobuf.message import DecodeError

from core.envoy.wire import field, text
from core.manager.xds.channel import Channel
from core.manager.xds.exchange import BadRequest, Interest, Request, Response
from core.manager.xds.resource import ResourceType

_WILDCARD = "*"


class StateOfTheWorld:
    """https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol, "How the client specifies what resources"."""

    def decode(self, raw: bytes) -> Request:
        """Raises `BadRequest`."""
        try:
            message = DiscoveryRequest.FromString(raw)
        except DecodeError as error:
            raise BadRequest(f"not a DiscoveryRequest: {error}") from error
        return Request(
            type_url=message.type_url,
            nonce=message.response_nonce,
            version=message.version_info,
            error=message.error_detail.message if message.HasField("error_detail") else None,
            names=tuple(map(intern, message.resource_names)),
        )

    def interest(self, request: Request, channel: Channel) -> Interest | None:
        """None for a stale request: the proxy repeats its names when it has read what we sent since."""
        if channel.subscribed and request.nonce != channel.nonce:
            return None
        names = set(request.names) - {_WILDCARD}
        implicit = channel.type.has_wildcard and not channel.named and not request.names
        wildcard = implicit or _WILDCARD in request.names
        same = names == channel.names and wildcard == channel.wildcard
        return Interest(
            wildcard=wildcard,
            named=bool(request.names),
            added=[name for name in request.names if name in names and name not in channel.names],
            dropped=sorted(channel.names - names),
            version=request.version,
            repeat=same and self._repeats(request, channel),
        )

    def encode(self, response: Response) -> bytes:
        parts = [text(1, response.version)]
        parts += [field(2, resource.wire()) for resource in response.resources]
        parts += (field(4, response.type.wire_url), text(5, response.nonce))
        return b"".join(parts)

    def sends_whole(self, type_: ResourceType) -> bool:
        return type_.has_wildcard

    def tells_removals(self, type_: ResourceType) -> bool:
        return type_.has_wildcard

    def says_version(self) -> bool:
        return True

    def _repeats(self, request: Request, channel: Channel) -> bool:
        # A cluster that was replaced waits for its endpoints; Envoy says so with a request that looks like the
        # acknowledgement it has sent already.
        already_acknowledged = channel.flight is None and request.nonce != "" and request.error is None
        return already_acknowledged and not self.sends_whole(channel.type)
