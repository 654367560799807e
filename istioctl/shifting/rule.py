"""The VirtualService: where it says how calls are shared, and the same document with other shares."""

from collections.abc import Iterable
from typing import TypedDict, cast

from core.ir.routing import ANY_REQUEST, ANY_SOURCE, MESH, Forward, HttpRoute, RequestMatch, RouteRule
from core.ir.values import Prefix
from core.kinds.networking.virtualservice import KIND
from core.manager.api.objects import Resource
from istioctl.shifting.stored import (
    Json,
    Planned,
    changed,
    check_name_is_free,
    covers,
    created,
    is_seen,
    meanings,
    refusal,
    spec_of,
)
from istioctl.shifting.words import Target, Weights

_EVERY_REQUEST = (ANY_REQUEST, RequestMatch(path=Prefix("/")))


class _Share(TypedDict, total=False):
    destination: Json
    weight: int
    headers: Json


def plan_rule(target: Target, weights: Weights, stored: Iterable[Resource]) -> Planned:
    """`stored` is every VirtualService there is. Raises `Misconfigured` where there is no simple answer."""
    found = _governing(target, list(stored))
    if found is None:
        plain: list[_Share] = [{"destination": {"host": target.name}}]
        return created(KIND, target, {"hosts": [target.name], "http": [{"route": _shared(weights, plain)}]})
    resource, rule = found
    spec = spec_of(resource)
    route = cast(list[Json], spec["http"])[_catch_all(target, resource, rule)]
    shares = cast(list[_Share], route["route"])
    _check_nothing_is_lost(resource, shares, weights)
    route["route"] = _shared(weights, shares)
    return changed(KIND, resource, spec)


def shares_of(planned: Planned, target: Target) -> dict[str, int] | None:
    """How the stored rule shares calls now, in percent by subset; None when that cannot be said so."""
    if planned.stored is None:
        return None
    for _, rule in meanings((planned.stored,), RouteRule):
        actions = [route.action for route in rule.http if _takes_everything(route)]
        shares = actions[0].shares if actions and isinstance(actions[0], Forward) else ()
        weights = {share.destination.subset: share.weight for share in shares}
        if len(weights) == 1:
            weights = dict.fromkeys(weights, 100)
        if "" not in weights and sum(weights.values()) == 100 and len(weights) == len(shares):
            return weights
    return None


def _governing(target: Target, resources: list[Resource]) -> tuple[Resource, RouteRule] | None:
    """The one that holds for calls to the service; None when there is none, and the name is free."""
    rules = [(each, rule) for each, rule in meanings(resources, RouteRule) if MESH in rule.gateways]
    seen = [(each, rule) for each, rule in rules if is_seen(rule.visible_to, target)]
    named = [(each, rule) for each, rule in seen if target.host in rule.hosts]
    if len(named) > 1:
        others = ", ".join(f"{each.metadata.namespace}/{each.metadata.name}" for each, _ in named[1:])
        raise refusal(named[0][0], f"is not the only one for {target.name}: there is {others}, too")
    if named:
        return named[0]
    for each, rule in seen:
        if any(covers(host, target.host) for host in rule.hosts):
            raise refusal(each, f"is for a wildcard, and a rule for {target.name} alone would take its place")
    check_name_is_free(target, resources)
    return None


def _catch_all(target: Target, resource: Resource, rule: RouteRule) -> int:
    """The index of the route whose destinations may be replaced. Raises `Misconfigured` when there is none."""
    if resource.metadata.namespace != target.namespace:
        raise refusal(resource, f"is the one for calls to {target.name}, and is in another namespace")
    if len(rule.hosts) > 1:
        raise refusal(resource, "has several hosts, and calls to all of them would be shifted")
    indexes = [i for i, route in enumerate(rule.http) if _takes_everything(route)]
    if len(indexes) != 1:
        number = "several routes" if indexes else "no route"
        raise refusal(resource, f"has {number} without conditions, so that it is not clear which calls are meant")
    action = rule.http[indexes[0]].action
    if not isinstance(action, Forward):
        raise refusal(resource, "does not forward these calls, it answers them")
    if {share.destination.host for share in action.shares} != {target.host}:
        raise refusal(resource, f"sends these calls to other services than {target.name}, too")
    if len({share.destination.port for share in action.shares}) > 1:
        raise refusal(resource, "sends these calls to several ports")
    return indexes[0]


def _takes_everything(route: HttpRoute) -> bool:
    each = ((match.source, match.request) for match in route.matches)
    return not route.matches or any(source == ANY_SOURCE and request in _EVERY_REQUEST for source, request in each)


def _check_nothing_is_lost(resource: Resource, shares: list[_Share], weights: Weights) -> None:
    for share in shares:
        subset = share["destination"].get("subset", "")
        if "headers" in share and subset not in weights:
            raise refusal(resource, f"changes headers of what goes to {subset or 'it'}, and that would be lost")


def _shared(weights: Weights, old: list[_Share]) -> list[Json]:
    """What stays keeps what its share says beside the weight; what is new goes where the others go."""
    known = {share["destination"].get("subset", ""): share for share in old}
    pattern = old[0]["destination"]
    return [
        {**known.get(subset, {"destination": {**pattern, "subset": subset}}), "weight": weight}
        for subset, weight in weights.items()
    ]
