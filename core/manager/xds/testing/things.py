"""Stand-ins for Envoy resources: small, comparable, and open about what they name."""

import msgspec

from core.envoy.wire import packed
from core.manager.xds.resource import Resource, ResourceType, content_version


class Thing(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """What a resource is about. `bad` ones are refused; `salt` makes equal ones differ.

    A cluster with `eds` warms until its endpoints come. Routes name `clusters`, listeners `routes`, both
    clusters and listeners `secrets`.
    """

    name: str
    salt: int = 0
    bad: bool = False
    eds: bool = False
    clusters: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()


def resource(type_: ResourceType, thing: Thing) -> Resource:
    content = msgspec.json.encode(thing)
    return Resource(thing.name, content_version(content), packed(type_.url, content), (("made from", thing.name),))


def thing(content: bytes) -> Thing:
    return msgspec.json.decode(content, type=Thing)
