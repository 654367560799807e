"""The DestinationRule: the subsets that nobody has defined yet, by the label that tells versions apart."""

from collections.abc import Iterable
from typing import Final, cast

from core.ir.traffic import DestinationPolicy
from core.kinds.networking.destinationrule import KIND
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
from istioctl.shifting.words import Target

VERSION: Final = "version"
"""The label by which Istio's conventions, and ours, tell the versions of a service apart."""


def plan_policy(target: Target, subsets: Iterable[str], stored: Iterable[Resource]) -> Planned | None:
    """None when all `subsets` are defined. `stored` is every DestinationRule there is.

    Raises `Misconfigured` where there is no simple answer.
    """
    resources = list(stored)
    policies = [(each, p) for each, p in meanings(resources, DestinationPolicy) if is_seen(p.visible_to, target)]
    own = [(each, policy) for each, policy in policies if policy.host == target.host]
    defined = {subset.name for _, policy in own for subset in policy.subsets}
    missing: list[Json] = [{"name": name, "labels": {VERSION: name}} for name in subsets if name not in defined]
    if not missing:
        return None
    if own:
        return _extended(target, [each for each, _ in own], missing)
    for each, policy in policies:
        if covers(policy.host, target.host):
            raise refusal(each, f"is for a wildcard, and a rule for {target.name} alone would take its place")
    check_name_is_free(target, resources)
    return created(KIND, target, {"host": target.name, "subsets": missing})


def _extended(target: Target, own: list[Resource], missing: list[Json]) -> Planned:
    near = [each for each in own if each.metadata.namespace == target.namespace]
    if not near:
        names = ", ".join(str(subset["name"]) for subset in missing)
        raise refusal(own[0], f"is the one for {target.name}, is in another namespace, and has no subset {names}")
    chosen = next((each for each in near if each.metadata.name == target.name), near[0])
    spec = spec_of(chosen)
    spec["subsets"] = [*cast(list[Json], spec.get("subsets") or []), *missing]
    return changed(KIND, chosen, spec)
