"""A route of the config API: what the Manager has for a proxy, in the form in which Envoy tells it of itself.

For clients that cannot be asked, such as gRPC without a proxy. Path and parameter are Istio's (`/debug/config_dump`).
"""

from collections.abc import Iterator, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core.envoy.dump import config_dump
from core.errors import NotFound
from core.manager.api.failures import Failure
from core.manager.pusher import Pusher
from core.manager.xds.group import Group, names_of, newest
from core.manager.xds.resource import ResourceType
from core.model.service import WorkloadKey


class Sent:
    def __init__(self, pusher: Pusher) -> None:
        self._pusher = pusher

    def routes(self) -> tuple[Route, ...]:
        return (Route("/debug/config_dump", self._dump, methods=["GET"]),)

    async def _dump(self, request: Request) -> Response:
        """`proxyID` is `name.namespace`. 404 while no proxy of that workload has been here."""
        name, _, namespace = request.query_params.get("proxyID", "").partition(".")
        try:
            groups = self._pusher.served(WorkloadKey(namespace, name))
        except NotFound as error:
            raise Failure(404, str(error)) from error
        whole = config_dump(
            clusters=_bodies(groups, ResourceType.CLUSTER),
            endpoints=_bodies(groups, ResourceType.ENDPOINTS),
            listeners=_bodies(groups, ResourceType.LISTENER),
            routes=_bodies(groups, ResourceType.ROUTES),
        )
        return Response(whole, media_type="application/json")


def _bodies(groups: Sequence[Group], type_: ResourceType) -> Iterator[bytes]:
    found = (newest(groups, type_, name) for name in sorted(names_of(groups, type_)))
    return (each.wire() for each in found if each is not None)
