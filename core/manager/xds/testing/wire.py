"""A client's side of the two dialects, written with protobuf so that it shares no code with what it tests."""

from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)

from core.manager.xds.delta import Delta
from core.manager.xds.resource import BY_URL, ResourceType, content_version
from core.manager.xds.sotw import StateOfTheWorld
from core.manager.xds.stream import Dialect
from core.manager.xds.testing.things import Thing, thing


class Arrival(msgspec.Struct, frozen=True):
    """A response as the client reads it. `removed` is None when the response replaces everything of the type."""

    type: ResourceType
    nonce: str
    things: tuple[tuple[Thing, str], ...]
    removed: tuple[str, ...] | None
    version: str = ""

    @property
    def names(self) -> set[str]:
        return {thing.name for thing, _ in self.things}


class Say(msgspec.Struct, frozen=True, kw_only=True):
    """What a client wants to say; each dialect takes from it what it has words for.

    `names` is everything it is interested in now, `more` and `less` are the change. Of a response it says `nonce` and
    maybe `error`. `version` is that of the last response of the type that it accepted. `nonce` is the last one of the
    type, `answers` whether this request is about it.
    """

    type: ResourceType
    names: Iterable[str] = ()
    more: Iterable[str] = ()
    less: Iterable[str] = ()
    versions: Mapping[str, str] = {}
    nonce: str = ""
    version: str = ""
    answers: bool = False
    error: str | None = None


class Wire(Protocol):
    dialect: Dialect
    is_delta: bool

    def request(self, say: Say) -> bytes: ...

    def arrival(self, raw: bytes) -> Arrival: ...


class DeltaWire:
    dialect: Dialect = Delta()
    is_delta = True

    def request(self, say: Say) -> bytes:
        message = DeltaDiscoveryRequest(
            type_url=say.type.url,
            resource_names_subscribe=say.more,
            resource_names_unsubscribe=say.less,
            initial_resource_versions=say.versions,
            response_nonce=say.nonce if say.answers else "",
        )
        if say.error is not None:
            message.error_detail.message = say.error
        return bytes(message.SerializeToString())

    def arrival(self, raw: bytes) -> Arrival:
        message = DeltaDiscoveryResponse.FromString(raw)
        things = tuple((thing(entry.resource.value), str(entry.version)) for entry in message.resources)
        assert [entry.name for entry in message.resources] == [thing.name for thing, _ in things]
        return Arrival(BY_URL[message.type_url], message.nonce, things, tuple(message.removed_resources))


class WholeWire:
    dialect: Dialect = StateOfTheWorld()
    is_delta = False

    def request(self, say: Say) -> bytes:
        message = DiscoveryRequest(
            type_url=say.type.url, resource_names=say.names, response_nonce=say.nonce, version_info=say.version
        )
        if say.error is not None:
            message.error_detail.message = say.error
        return bytes(message.SerializeToString())

    def arrival(self, raw: bytes) -> Arrival:
        message = DiscoveryResponse.FromString(raw)
        type_ = BY_URL[message.type_url]
        things = tuple((thing(entry.value), content_version(entry.value)) for entry in message.resources)
        return Arrival(type_, message.nonce, things, None if type_.has_wildcard else (), message.version_info)


WIRES: tuple[Wire, ...] = (DeltaWire(), WholeWire())
