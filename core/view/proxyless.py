"""What a gRPC application without a proxy sees beyond routes, upstreams and endpoints: whom it calls, how it serves."""

import msgspec

from core.view.access import Check
from core.view.security import ServerSecurity


class Target(msgspec.Struct, frozen=True):
    """A name that clients may call, as it stands behind `xds:///`, and the route configuration that says how."""

    name: str
    routes: str


class GrpcServer(msgspec.Struct, frozen=True, kw_only=True):
    """How a server that listens on `address`:`port` takes its callers, and who may call; there are no dry runs."""

    address: str
    port: int
    security: ServerSecurity
    checks: tuple[Check, ...] = ()
