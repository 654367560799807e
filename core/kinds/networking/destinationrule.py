"""DestinationRule (networking.istio.io): spec, rules and lowering to a `DestinationPolicy`."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from core.diagnostics import Severity
from core.ir.lowered import Lowered
from core.ir.traffic import INHERIT_ALL, DestinationPolicy, PortPolicy, Subset, TrafficPolicy
from core.kinds import names
from core.kinds.findings import Context
from core.kinds.kind import Kind, Spec
from core.kinds.networking import trafficpolicy
from core.kinds.networking.trafficpolicy import TrafficPolicySpec
from core.kinds.schema import read
from core.model.config import Document, Origin
from core.model.mesh import Mesh


class SubsetSpec(Spec, frozen=True):
    name: str = ""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    traffic_policy: TrafficPolicySpec | None = None


class DestinationRuleSpec(Spec, frozen=True):
    host: str = ""
    traffic_policy: TrafficPolicySpec | None = None
    subsets: tuple[SubsetSpec, ...] = ()
    export_to: tuple[str, ...] = ()

    later: ClassVar[Mapping[str, Severity]] = {"workloadSelector": Severity.ERROR}


def lower(document: Document, mesh: Mesh) -> Lowered:
    context = Context(document, mesh)
    spec = read(context, DestinationRuleSpec)
    policy = _policy(context, spec) if spec else None
    failed = policy is None or context.findings.failed
    return Lowered(() if failed or policy is None else (policy,), context.findings.all())


def _policy(context: Context, spec: DestinationRuleSpec) -> DestinationPolicy:
    at = context.root
    policy, ports = _traffic(context, spec.traffic_policy, at.at("trafficPolicy"))
    return DestinationPolicy(
        host=names.host_or_wildcard(context, spec.host, at.at("host")),
        policy=policy,
        ports=ports,
        subsets=_subsets(context, spec, at.at("subsets")),
        visible_to=names.visible_to(context, spec.export_to, at.at("exportTo")),
        created=context.document.created,
        origin=at,
    )


def _traffic(
    context: Context, spec: TrafficPolicySpec | None, at: Origin, *, wider: TrafficPolicySpec | None = None
) -> tuple[TrafficPolicy, tuple[PortPolicy, ...]]:
    return (INHERIT_ALL, ()) if spec is None else trafficpolicy.lower(context, spec, at, wider=wider)


def _subsets(context: Context, rule: DestinationRuleSpec, at: Origin) -> tuple[Subset, ...]:
    seen: set[str] = set()
    for i, spec in enumerate(rule.subsets):
        if spec.name and spec.name in seen:
            context.error(at.at(i).at("name"), f"the subset {spec.name!r} is defined twice", fix="rename one")
        seen.add(spec.name)
    return tuple(_subset(context, spec, at.at(i), wider=rule.traffic_policy) for i, spec in enumerate(rule.subsets))


def _subset(context: Context, spec: SubsetSpec, at: Origin, *, wider: TrafficPolicySpec | None) -> Subset:
    if not spec.name:
        context.error(at.at("name"), "a subset needs a name", fix="for example name: v1")
    policy, ports = _traffic(context, spec.traffic_policy, at.at("trafficPolicy"), wider=wider)
    return Subset(
        name=names.subset(context, spec.name, at.at("name")),
        labels=names.labels(context, spec.labels, at.at("labels")),
        policy=policy,
        ports=ports,
        origin=at,
    )


KIND = Kind(
    group="networking.istio.io",
    kind="DestinationRule",
    plural="destinationrules",
    short_names=("dr",),
    versions=("v1", "v1beta1", "v1alpha3"),
    spec=DestinationRuleSpec,
    lower=lower,
)
