"""What is delivered: a named, versioned, finished Envoy resource, and the types in the order in which they go out."""

from collections.abc import Hashable
from enum import Enum
from hashlib import blake2b

import msgspec

from core.envoy.wire import Rope

_PREFIX = "type.googleapis.com/envoy."


class ResourceType(Enum):
    """The types served over ADS. Members stand in push order."""

    CLUSTER = "config.cluster.v3.Cluster"
    ENDPOINTS = "config.endpoint.v3.ClusterLoadAssignment"
    LISTENER = "config.listener.v3.Listener"
    ROUTES = "config.route.v3.RouteConfiguration"
    SECRET = "extensions.transport_sockets.tls.v3.Secret"

    # Members are one object each; Enum's own hash is a Python function, and these are keys on the way of every push.
    __hash__ = object.__hash__

    def __init__(self, value: str) -> None:
        self.url = _PREFIX + value
        self.wire_url = self.url.encode()
        # "How the client specifies what resources to return" in the xDS protocol: only these two.
        self.has_wildcard = self.name in ("CLUSTER", "LISTENER")


PUSH_ORDER = tuple(ResourceType)
IN_ROUNDS = (ResourceType.CLUSTER, ResourceType.LISTENER, ResourceType.ROUTES)
"""Changes of these name each other; endpoints and secrets name nothing else."""
BY_URL = {type_.url: type_ for type_ in PUSH_ORDER}


class Resource(msgspec.Struct, frozen=True, gc=False):
    """One Envoy resource, shared by reference among all streams that send it.

    `version` is a hash of the content: equal versions are equal bytes. `body` is the serialised
    `google.protobuf.Any`. `origins` name the documents that it was made from; here they are only passed on.
    """

    name: str
    version: str
    body: bytes | Rope
    origins: tuple[Hashable, ...] = ()

    def wire(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else self.body.join()


def content_version(*parts: bytes) -> str:
    """A version for content that is the sequence of `parts`: 16 hex digits, no secret, not cryptographic.

    For a large resource, pass the versions of its parts instead of their bytes.
    """
    digest = blake2b(digest_size=8)
    for part in parts:
        digest.update(len(part).to_bytes(4, "big"))
        digest.update(part)
    return digest.hexdigest()
