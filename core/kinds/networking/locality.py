"""`localityLbSetting`, of a DestinationRule's load balancers and of MeshConfig: who is near, and what goes where."""

from collections.abc import Mapping, Sequence

import msgspec

from core.ir.values import INHERIT, Inherit
from core.kinds import names
from core.kinds.findings import Context
from core.kinds.kind import Spec
from core.model.config import Origin
from core.model.locality import TOPOLOGY, Alike, Distribute, Failover, LocalityPolicy, Portion, covers
from core.model.service import Locality

WHOLE = 100


class DistributeSpec(Spec, frozen=True):
    source: str = msgspec.field(default="", name="from")
    to: dict[str, int] = msgspec.field(default_factory=dict)


class FailoverSpec(Spec, frozen=True):
    source: str = msgspec.field(default="", name="from")
    to: str = ""


class LocalitySpec(Spec, frozen=True):
    distribute: tuple[DistributeSpec, ...] = ()
    failover: tuple[FailoverSpec, ...] = ()
    failover_priority: tuple[str, ...] = ()
    enabled: bool | None = None

    @property
    def fails_over(self) -> bool:
        """Whether it says more of failover than that there is one."""
        return bool(self.failover or self.failover_priority) and not self.distribute and self.enabled is not False


def lower(context: Context, spec: LocalitySpec | None, at: Origin) -> LocalityPolicy | Inherit:
    """What such a block says; without one the wider setting holds. Both together are refused, as in Istio."""
    if spec is None:
        return INHERIT
    if spec.distribute and spec.failover:
        context.error(at, "distribute and failover exclude each other", fix="keep one")
    elif spec.distribute and spec.failover_priority:
        message = "failoverPriority has no effect beside distribute"
        context.warn(at.at("failoverPriority"), message, fix="take it out")
    portions = _distribute(context, spec.distribute, at.at("distribute"))
    regions = _failover(context, spec.failover, at.at("failover"))
    labels = _priority(context, spec, at.at("failoverPriority"))
    if spec.enabled is False:
        return Alike()
    return Distribute(portions) if portions else Failover(regions, labels)


def _distribute(context: Context, specs: tuple[DistributeSpec, ...], at: Origin) -> tuple[Portion, ...]:
    sources = _places(context, [(spec.source, at.at(i).at("from")) for i, spec in enumerate(specs)])
    portions = (_shares(context, spec.to, at.at(i).at("to")) for i, spec in enumerate(specs))
    return tuple(Portion(source, to) for source, to in zip(sources, portions, strict=True))


def _shares(context: Context, to: Mapping[str, int], at: Origin) -> tuple[tuple[Locality, int], ...]:
    for text, part in to.items():
        if not 1 <= part <= WHOLE:
            context.error(at.at(text), f"a part must be from 1 to {WHOLE}, not {part}", fix="leave out who gets none")
    if (total := sum(to.values())) != WHOLE:
        context.error(at, f"the parts add up to {total}, not {WHOLE}", fix=f"make them add up to {WHOLE}")
    places = _places(context, [(text, at.at(text)) for text in to])
    return tuple(zip(places, to.values(), strict=True))


def _places(context: Context, texts: Sequence[tuple[str, Origin]]) -> list[Locality]:
    """As `region/zone/subzone`, of which the last part written may be "*"; no two may have something in common."""
    found = [_place(context, text, at) for text, at in texts]
    for i, (text, at) in enumerate(texts):
        if other := next((each for each in found[:i] if _overlap(each, found[i])), None):
            message = f"{text[:80]!r} overlaps with {str(other) or '*'!r}"
            context.error(at, message, fix="name places that have nothing in common")
    return [each or Locality() for each in found]


def _overlap(one: Locality | None, other: Locality | None) -> bool:
    return one is not None and other is not None and (covers(one, other) or covers(other, one))


def _place(context: Context, text: str, at: Origin) -> Locality | None:
    parts = text.split("/")
    plain = parts[:-1] if parts[-1] == "*" else parts
    if not 1 <= len(parts) <= 3 or any(not part or "*" in part for part in plain):
        fix = "for example eu-west/1a, eu-west/* or *"
        context.error(at, f"{text[:80]!r} is not region/zone/subzone with at most one * at the end", fix=fix)
        return None
    return Locality.parse("/".join(plain))


def _failover(context: Context, specs: tuple[FailoverSpec, ...], at: Origin) -> tuple[tuple[str, str], ...]:
    for i, spec in enumerate(specs):
        for field, region in (("from", spec.source), ("to", spec.to)):
            if not region or "/" in region or "*" in region:
                fix = "name a region, for example eu-west"
                context.error(at.at(i).at(field), f"failover is from region to region, not {region[:80]!r}", fix=fix)
        if spec.source and spec.source == spec.to:
            context.error(at.at(i), f"the region {spec.source!r} cannot step in for itself", fix="name another one")
        if any(spec.source == other.source for other in specs[:i]):
            context.error(at.at(i).at("from"), f"the region {spec.source!r} is named twice", fix="keep one")
    return tuple((spec.source, spec.to) for spec in specs)


def _priority(context: Context, spec: LocalitySpec, at: Origin) -> tuple[tuple[str, str | None], ...]:
    found = tuple(_label(context, text, at.at(i)) for i, text in enumerate(spec.failover_priority))
    for i, (name, _) in enumerate(found):
        if spec.failover and name in TOPOLOGY:
            message = f"failover says what {name} does, so that failoverPriority cannot"
            context.error(at.at(i), message, fix="take one of them out")
    return found


def _label(context: Context, text: str, at: Origin) -> tuple[str, str | None]:
    """`key`, which is to be as the caller's, or `key=value`."""
    name, equals, value = text.partition("=")
    if problem := names.label_problem(name, value):
        context.error(at, problem, fix="for example topology.kubernetes.io/zone, or version=v1")
    return name, value if equals else None
