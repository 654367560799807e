"""Routes by which clients learn what is served: discovery in both forms, and OpenAPI. Nothing in them ever changes."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core.manager.api import discovery, openapi
from core.manager.api.answers import answer
from core.manager.api.failures import Failure

_WANTED = ("g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList")


def _is_aggregated(request: Request) -> bool:
    """Whether the newest form is among those that the client takes."""
    offers = request.headers.get("accept", "").replace(" ", "").split(",")
    return any(all(word in offer.split(";") for word in _WANTED) for offer in offers)


def _aggregated(served: tuple[str, ...]) -> Response:
    response = answer(discovery.aggregated(served))
    response.headers["content-type"] = discovery.AGGREGATED
    return response


async def _api(request: Request) -> Response:
    return _aggregated(()) if _is_aggregated(request) else answer(discovery.legacy())


async def _apis(request: Request) -> Response:
    return _aggregated(discovery.groups()) if _is_aggregated(request) else answer(discovery.group_list())


async def _group(request: Request) -> Response:
    return _found(discovery.group(request.path_params["group"]), request)


async def _version(request: Request) -> Response:
    return _found(discovery.resource_list(request.path_params["group"], request.path_params["version"]), request)


async def _openapi(request: Request) -> Response:
    return answer(openapi.index())


async def _document(request: Request) -> Response:
    found = openapi.document(request.path_params["group"], request.path_params["version"])
    if found is None:
        raise Failure(404, f"the server does not serve {request.url.path}")
    return Response(found, media_type="application/json")


def _found(value: object, request: Request) -> Response:
    if value is None:
        raise Failure(404, f"the server does not serve {request.url.path}")
    return answer(value)


ROUTES = (
    Route("/api", _api),
    Route("/apis", _apis),
    Route("/apis/{group}", _group),
    Route("/apis/{group}/{version}", _version),
    Route("/openapi/v3", _openapi),
    Route("/openapi/v3/apis/{group}/{version}", _document),
)
