"""Which endpoints are near: priorities and weights of localities, as a caller's place and the policy in force say.

The rules are Istio's (`LocalityLoadBalancerSetting`). Not for whose policy holds, which is `precedence`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from math import lcm
from typing import NamedTuple, assert_never

from msgspec.structs import replace

from core.compiler.inputs import Inputs
from core.compiler.precedence import effective, policy_for
from core.compiler.scope import NOWHERE, Near
from core.ir.traffic import DestinationPolicy, Subset, TrafficPolicy
from core.ir.values import Inherit
from core.model.labels import Labels
from core.model.locality import TOPOLOGY, Alike, Distribute, Failover, LocalityPolicy, Portion, covers, label_of
from core.model.mesh import Mesh
from core.model.service import Locality, Resolution, ServiceKey
from core.view.upstream import Endpoint, LocalityEndpoints

ALIKE = Alike()
FINEST = 10_000
"""Weights of localities are no finer than this part of one in a hundred."""

Rank = tuple[int, ...]
"""The less, the nearer."""


class Candidate(NamedTuple):
    """An endpoint that may be called, and where it is."""

    endpoint: Endpoint
    locality: Locality
    labels: Labels


# -- which policy ------------------------------------------------------------------------------------------------------


def in_force(blocks: TrafficPolicy, mesh: Mesh) -> LocalityPolicy:
    """Failover needs outlier detection: without it nobody would notice that the near endpoints are bad (Istio)."""
    policy = mesh.locality if isinstance(blocks.locality, Inherit) else blocks.locality
    return ALIKE if isinstance(policy, Failover) and isinstance(blocks.outlier, Inherit) else policy


def narrowed(inputs: Inputs, namespace: str, key: ServiceKey, near: Near) -> Near:
    """What of a caller's place makes a difference for the endpoints of a service; mostly nothing does."""
    service = inputs.services.get(key)
    if near == NOWHERE or service is None:
        return NOWHERE
    policy, mesh = policy_for(inputs, namespace, key), inputs.mesh
    subsets = (None, *policy.subsets)
    found = {in_force(effective(policy, port.number, each), mesh) for port in service.ports for each in subsets}
    names = frozenset(name for each in found for name in _labels(each))
    located = any(map(_looks_at_locality, found))
    return Near(near.locality if located else Locality(), near.labels.only(names))


def narrowed_where_names(inputs: Inputs, namespace: str, key: ServiceKey, near: Near) -> Near:
    """The same for the clusters of a service: only where names are looked up are endpoints a part of them."""
    service = inputs.services.get(key) if near != NOWHERE else None
    if service is None or service.resolution is not Resolution.DNS:
        return NOWHERE
    return narrowed(inputs, namespace, key, near)


def asked_by(policy: DestinationPolicy, mesh: Mesh) -> frozenset[str] | None:
    """The labels of callers by which a document's endpoints are near; None: nearness is nothing to this document."""
    blocks = [*_blocks(policy), *(each for subset in policy.subsets for each in _blocks(subset))]
    explicit = [each.locality for each in blocks if isinstance(each.locality, Failover | Distribute)]
    watched = any(not isinstance(each.outlier, Inherit) for each in blocks)
    found = [*explicit, *((mesh.locality,) if watched and isinstance(mesh.locality, Failover) else ())]
    return frozenset(name for each in found for name in _labels(each)) if found else None


def asked_of_callers(mesh: Mesh, asked: Iterable[frozenset[str] | None]) -> frozenset[str] | None:
    """All that `asked_by` says of documents; a distribution for the whole mesh needs no document."""
    found = [each for each in asked if each is not None]
    return frozenset().union(*found) if found or isinstance(mesh.locality, Distribute) else None


def _blocks(of: DestinationPolicy | Subset) -> Iterable[TrafficPolicy]:
    return (of.policy, *(port.policy for port in of.ports))


def _labels(policy: LocalityPolicy) -> list[str]:
    wanted = policy.labels if isinstance(policy, Failover) else ()
    return [name for name, value in wanted if value is None and name not in TOPOLOGY]


def _looks_at_locality(policy: LocalityPolicy) -> bool:
    match policy:
        case Alike():
            return False
        case Distribute():
            return True
        case Failover(regions, labels):
            return not labels or bool(regions) or any(name in TOPOLOGY for name, _ in labels)
        case _:
            assert_never(policy)


# -- where endpoints stand ---------------------------------------------------------------------------------------------


def placed(
    candidates: Iterable[Candidate], policy: LocalityPolicy, near: Near = NOWHERE
) -> tuple[LocalityEndpoints, ...]:
    """By priority, without gaps, and by locality; every endpoint once in each."""
    rank = _ranking(policy, near)
    groups: dict[tuple[Rank, Locality], dict[tuple[str, int], Endpoint]] = defaultdict(dict)
    for endpoint, locality, labels in candidates:
        groups[rank(locality, labels), locality].setdefault((endpoint.address, endpoint.port), endpoint)
    priorities = {each: number for number, each in enumerate(sorted({each for each, _ in groups}))}
    found = tuple(
        LocalityEndpoints(locality, tuple(group.values()), priorities[each], sum(e.weight for e in group.values()))
        for (each, locality), group in sorted(groups.items(), key=lambda item: item[0])
    )
    return _distributed(found, policy, near) if isinstance(policy, Distribute) else found


def _ranking(policy: LocalityPolicy, near: Near) -> Callable[[Locality, Labels], Rank]:
    if not isinstance(policy, Failover):
        return lambda locality, labels: ()
    regions, wanted = dict(policy.regions), [(n, _wanted(n, v, near)) for n, v in policy.labels]
    if not wanted:
        return lambda locality, labels: (_distance(near.locality, locality, regions),)
    if not regions:
        return lambda locality, labels: (_differs(wanted, locality, labels),)
    return lambda locality, labels: (
        _differs(wanted, locality, labels),
        _distance(near.locality, locality, regions),
    )


def _distance(here: Locality, there: Locality, regions: dict[str, str]) -> int:
    """0 to 3: the same subzone, zone, region, another region; 4: a region that another one is to step in before."""
    if here.region != there.region:
        return 3 if regions.get(here.region, there.region) == there.region else 4
    if here.zone != there.zone:
        return 2
    return int(here.subzone != there.subzone)


def _wanted(name: str, value: str | None, near: Near) -> str:
    return label_of(name, near.locality, near.labels) if value is None else value


def _differs(wanted: Sequence[tuple[str, str]], locality: Locality, labels: Labels) -> int:
    """How many labels are left from the first that differs on; what neither has is the same."""
    pairs = enumerate(wanted)
    return next((len(wanted) - i for i, (n, value) in pairs if label_of(n, locality, labels) != value), 0)


def _distributed(
    places: tuple[LocalityEndpoints, ...], policy: Distribute, near: Near
) -> tuple[LocalityEndpoints, ...]:
    """Places that get no part are left out; several that share one get it by the weights of their endpoints."""
    portion = next((each for each in policy.portions if covers(each.source, near.locality)), None)
    if portion is None:
        return places
    shares = [(place, share) for place in places if (share := _share(portion, place, places))]
    scale = min(lcm(*(share.denominator for _, share in shares)), FINEST)
    return tuple(replace(place, weight=max(round(share * scale), 1)) for place, share in shares)


def _share(portion: Portion, place: LocalityEndpoints, places: Sequence[LocalityEndpoints]) -> Fraction:
    for target, part in portion.to:
        if covers(target, place.locality):
            together = sum(each.weight for each in places if covers(target, each.locality))
            return Fraction(part * place.weight, together)
    return Fraction()
