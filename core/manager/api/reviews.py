"""Answers `kubectl auth can-i` and `kubectl auth whoami`: what the one who asks may do here. Decides nothing itself."""

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core.kinds.registry import KINDS
from core.manager.api import protobuf
from core.manager.api.access import Caller, Role
from core.manager.api.answers import answer
from core.manager.api.failures import Failure
from core.manager.api.guard import REVIEWS, may
from core.manager.api.questions import body_of, media_type

_METHODS: Final = {
    "get": "GET", "list": "GET", "watch": "GET", "create": "POST", "update": "PUT", "patch": "PATCH",
    "delete": "DELETE", "deletecollection": "DELETE",
}  # fmt: skip
_NOBODY: Final = Caller("", Role.VIEWER)
"""Without a guard nobody is known. Only tests do without."""


class _Place(msgspec.Struct, frozen=True):
    """`ResourceAttributes`, as far as it matters here; "*" and "" stand for all."""

    verb: str = ""
    group: str = ""
    resource: str = ""
    namespace: str = ""


class _Path(msgspec.Struct, frozen=True):
    path: str = ""
    verb: str = ""


class _Asked(msgspec.Struct, frozen=True, rename="camel"):
    resource_attributes: _Place | None = None
    non_resource_attributes: _Path | None = None
    namespace: str = ""


class _Review(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    kind: str
    spec: _Asked = _Asked()


async def _access(request: Request) -> Response:
    review, caller = await _review(request), _caller(request)
    allowed, reason = _verdict(review.spec, caller)
    return _answered(review, {"allowed": allowed, "reason": reason})


async def _rules(request: Request) -> Response:
    review, caller = await _review(request), _caller(request)
    verbs = [verb for verb in _METHODS if _allowed(_Place(verb=verb, namespace=review.spec.namespace), caller)]
    groups = sorted({kind.group for kind in KINDS})
    resources = [
        {"verbs": verbs, "apiGroups": [group], "resources": sorted(k.plural for k in KINDS if k.group == group)}
        for group in groups
        if verbs
    ]
    paths = [path for path in ("/api", "/apis", "/openapi/v3", "/version", "/status") if may(caller, "GET", path)]
    plain = [{"verbs": ["get"], "nonResourceURLs": paths}]
    return _answered(review, {"resourceRules": resources, "nonResourceRules": plain, "incomplete": False})


async def _self(request: Request) -> Response:
    review, caller = await _review(request), _caller(request)
    group = f"{caller.role}:{caller.namespace}" if caller.namespace else str(caller.role)
    return _answered(review, {"userInfo": {"username": caller.name, "groups": [group]}})


def _verdict(asked: _Asked, caller: Caller) -> tuple[bool, str]:
    if path := asked.non_resource_attributes:
        return may(caller, _METHODS.get(path.verb.lower(), "POST"), path.path), ""
    place = asked.resource_attributes or _Place()
    if place.resource not in ("", "*", *(kind.plural for kind in KINDS if place.group in ("", "*", kind.group))):
        return False, "this is a mesh, which has no such kind: kubectl api-resources lists those it has"
    allowed = _allowed(place, caller)
    where = f" in {caller.namespace}" if caller.namespace else ""
    return allowed, "" if allowed else f"{caller.name} has the role {caller.role}{where}"


def _allowed(place: _Place, caller: Caller) -> bool:
    """As the guard would judge the request; of "*" only who may do everything there may do it."""
    group, version = place.group.strip("*") or KINDS[0].group, "v1"
    within = f"/namespaces/{place.namespace}" if place.namespace not in ("", "*") else ""
    path = f"/apis/{group}/{version}{within}/{place.resource.strip('*') or KINDS[0].plural}"
    return may(caller, _METHODS.get(place.verb, "POST"), path)


async def _review(request: Request) -> _Review:
    """Raises `Failure` 400."""
    body = await body_of(request, or_else=protobuf.MEDIA)
    if media_type(request) == protobuf.MEDIA:
        return _of_protobuf(body)
    try:
        return msgspec.json.decode(body, type=_Review)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failure(400, f"the body is no review: {error}") from error


def _of_protobuf(body: bytes) -> _Review:
    """Numbers of fields: Kubernetes, `authorization/v1/generated.proto`. Raises `Failure` 400."""
    read, text = protobuf.message, protobuf.text
    head, review = protobuf.enveloped(body)
    spec = read(review.get(2, b""))
    api_version, kind = text(head, 1), text(head, 2)
    if kind == "SelfSubjectRulesReview":
        return _Review(api_version, kind, _Asked(namespace=text(spec, 1)))
    if kind != "SelfSubjectAccessReview":
        return _Review(api_version, kind)
    place, path = read(spec.get(1, b"")), read(spec.get(2, b""))
    within = _Place(verb=text(place, 2), group=text(place, 3), resource=text(place, 5), namespace=text(place, 1))
    plain = _Path(path=text(path, 1), verb=text(path, 2)) if path else None
    return _Review(api_version, kind, _Asked(resource_attributes=within, non_resource_attributes=plain))


def _caller(request: Request) -> Caller:
    return getattr(request.state, "caller", None) or _NOBODY


def _answered(review: _Review, status: dict[str, object]) -> Response:
    head = {"apiVersion": review.api_version, "kind": review.kind, "metadata": {}}
    return answer({**head, "spec": {}, "status": status}, code=201)


ROUTES: Final = tuple(
    Route(path, handler, methods=["POST"]) for path, handler in zip(REVIEWS, (_access, _rules, _self), strict=True)
)
