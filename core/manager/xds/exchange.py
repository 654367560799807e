"""What passes over a stream, free of dialect: requests and responses, and what comes of them for whoever watches."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from core.errors import MeshError
from core.manager.xds.resource import Resource, ResourceType


class BadRequest(MeshError):
    """What arrived on a stream is no discovery request. It ends that stream and no other."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One DiscoveryRequest or DeltaDiscoveryRequest.

    `names` is the whole set of names (state of the world); `subscribe`, `unsubscribe` and `versions`
    (initial_resource_versions) are changes (delta). `version` is that of the response it accepted last, maybe on an
    earlier stream (state of the world). `error` is what a refusal says, None if there is none.
    `answers_only`: it changes nothing of what the proxy wants.
    """

    type_url: str
    nonce: str = ""
    version: str = ""
    error: str | None = None
    names: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    versions: Mapping[str, str] = {}
    answers_only: bool = False


class Interest(msgspec.Struct, frozen=True, kw_only=True):
    """How a request changes what a proxy wants of one type.

    `named`: it says some name. `version`: of the response that it accepted last, if it says so. `repeat`: it asks again
    for what it has, without having lost interest in between.
    """

    wildcard: bool
    named: bool = False
    added: Sequence[str] = ()
    dropped: Sequence[str] = ()
    versions: Mapping[str, str] = {}
    version: str = ""
    repeat: bool = False


class Response(msgspec.Struct, frozen=True, kw_only=True):
    type: ResourceType
    version: str
    nonce: str
    resources: Sequence[Resource]
    removed: Sequence[str] = ()


class Acked(msgspec.Struct, frozen=True):
    """A proxy accepted a response of this type, made from the state as of `generation`."""

    type: ResourceType
    generation: int


class Refused(msgspec.Struct, frozen=True):
    """A proxy refused this resource when it was alone. `message` is the proxy's own text.

    `resource` is None when the response brought nothing new, so that nothing can be blamed. `held` is what the proxy
    has under that name and lives on.
    """

    type: ResourceType
    resource: Resource | None
    message: str
    held: Resource | None = None


class Stirred(msgspec.Struct, frozen=True):
    """There is news for the proxy, or from it. `Quiet` follows sooner or later."""


class Quiet(msgspec.Struct, frozen=True):
    """The proxy has answered everything and there is nothing to send, or its stream is over."""


STIRRED, QUIET = Stirred(), Quiet()

Event = Acked | Refused | Stirred | Quiet
Observer = Callable[[Event], None]


class TypeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where a proxy stands with one type. `sent` and `acked` are generations, 0 for never.

    `waiting`: something is unacknowledged or still to be sent. `refused` maps names to the proxy's text.
    `brought`: it came with something that it had been sent elsewhere, or before.
    """

    type: ResourceType
    subscribed: bool
    sent: int
    acked: int
    waiting: bool
    refused: Mapping[str, str]
    brought: bool = False


class StreamStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`delivered` is the generation of the last whole push, 0 for none."""

    delivered: int
    types: tuple[TypeStatus, ...]


def ignore(event: Event) -> None:
    """An observer for those who need none."""
