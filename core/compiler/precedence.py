"""Who wins: every rule by which several documents, or several services, claim the same host."""

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from core.compiler.inputs import Inputs, label_keys, wildcards
from core.incremental import derived
from core.ir.access import AccessRule
from core.ir.routing import MESH, RouteRule
from core.ir.traffic import INHERIT_ALL, DestinationPolicy, PortPolicy, Subset, TrafficPolicy
from core.ir.values import INHERIT, Inherit
from core.model.config import ConfigKey, Origin
from core.model.service import Service, ServiceKey, WorkloadKey

T = TypeVar("T")


@derived
def service_for(inputs: Inputs, namespace: str, host: str) -> Service | None:
    """The service that `host` means to callers in `namespace`: their own namespace's, else the oldest.

    A service's own host comes before aliases and addresses of others. Services that are not exported to these callers
    do not exist for them; one that is hidden by another of the same host is not found by its other names either.
    """
    found = [s for key in inputs.services_by_host.get(host) if (s := inputs.services.get(key)) is not None]
    exported = [s for s in found if "*" in s.visible_to or namespace in s.visible_to]
    services = [s for s in exported if s.key.host == host]
    if not services:
        services = [s for s in exported if service_for(inputs, namespace, s.key.host) == s]
    return min(services, key=lambda s: (s.key.namespace != namespace, s.created, s.key), default=None)


def shown_service(inputs: Inputs, namespace: str, key: ServiceKey) -> Service | None:
    """The service `key`, unless callers in `namespace` mean another one by its host. Costs no entry of its own."""
    service = service_for(inputs, namespace, key.host)
    return service if service is not None and service.key == key else None


def route_rule_for(inputs: Inputs, namespace: str, host: str) -> RouteRule | None:
    """The one rule for calls from sidecars in `namespace` to `host`; rules for the same host are not merged.

    An exact host comes before a wildcard, a longer wildcard before a shorter one. Among equals: rules visible only
    here, rules exported to here by name, public ones; then the oldest, then by name
    (Istio `VirtualService`, "Traffic routing for multiple virtual services").
    """
    return next(iter(route_rules_for(inputs, namespace, host)), None)


@derived
def route_rules_for(inputs: Inputs, namespace: str, host: str) -> tuple[RouteRule, ...]:
    """All candidates of `route_rule_for` with the most specific matching host, the winner first."""
    for pattern in (host, *wildcards(host)):
        rules = (inputs.route_rules.get(key) for key in inputs.route_rules_by_host.get(pattern))
        candidates = [r for r in rules if r and MESH in gateways(r) and visible(r.visible_to, r.origin, namespace)]
        if candidates:
            return tuple(sorted(candidates, key=lambda rule: _route_rank(rule, namespace)))
    return ()


def gateways(rule: RouteRule) -> tuple[str, ...]:
    """Where some part of the rule holds."""
    nested = (m.source.gateways for route in rule.http for m in route.matches)
    return (*rule.gateways, *(name for names in nested for name in names))


def visible(visible_to: tuple[str, ...], origin: Origin, namespace: str) -> bool:
    own = origin.config.namespace
    return "*" in visible_to or namespace in visible_to or ("." in visible_to and namespace == own)


def _route_rank(rule: RouteRule, namespace: str) -> tuple[int, float, str, str]:
    key = rule.origin.config
    private = all(name in (".", namespace) for name in rule.visible_to) and key.namespace == namespace
    exported = namespace in rule.visible_to
    return (0 if private else 1 if exported else 2), rule.created, key.name, key.namespace


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The policy documents of one host, merged."""

    policy: TrafficPolicy = INHERIT_ALL
    ports: tuple[PortPolicy, ...] = ()
    subsets: tuple[Subset, ...] = ()
    origins: tuple[Origin, ...] = ()


NO_POLICY = Policy()


@derived
def policy_for(inputs: Inputs, namespace: str, key: ServiceKey) -> Policy:
    """The policy for calls from `namespace` to a service.

    Looked for in the caller's namespace, then the service's, then the root namespace; the first that has any for the
    host decides, with its most specific host (Istio `DestinationRule`).
    """
    candidates = [_policies_at(inputs, namespace, pattern) for pattern in (key.host, *wildcards(key.host))]
    if not any(candidates):
        return NO_POLICY
    for owner in dict.fromkeys((namespace, key.namespace, inputs.mesh.root_namespace)):
        for policies in candidates:
            if found := [policy for policy in policies if policy.origin.config.namespace == owner]:
                return _merge(sorted(found, key=_policy_rank))
    return NO_POLICY


def _policies_at(inputs: Inputs, namespace: str, pattern: str) -> list[DestinationPolicy]:
    found = [inputs.policies.get(config) for config in inputs.policies_by_host.get(pattern)]
    return [policy for policy in found if policy and visible(policy.visible_to, policy.origin, namespace)]


def _policy_rank(policy: DestinationPolicy) -> tuple[float, ConfigKey]:
    return policy.created, policy.origin.config


def _merge(policies: list[DestinationPolicy]) -> Policy:
    """The oldest that has a policy supplies it whole; the others only add subsets with new names."""
    first = next((p for p in policies if p.policy != INHERIT_ALL or p.ports), policies[0])
    subsets: dict[str, Subset] = {}
    for subset in (s for p in policies for s in p.subsets):
        subsets.setdefault(subset.name, subset)
    origins = tuple(p.origin for p in policies)
    return Policy(policy=first.policy, ports=first.ports, subsets=tuple(subsets.values()), origins=origins)


def effective(policy: Policy, port: int, subset: Subset | None) -> TrafficPolicy:
    """The blocks that hold for one port and subset.

    A port's entry replaces the wider policy whole. A subset's blocks override block by block, unless the subset
    has an entry for the port: that one replaces everything, missing blocks fall to their defaults.
    """
    base = _port_entry(policy.ports, port) or policy.policy
    if subset is None:
        return base
    return _port_entry(subset.ports, port) or _overlay(base, subset.policy)


def _port_entry(entries: Iterable[PortPolicy], port: int) -> TrafficPolicy | None:
    return next((entry.policy for entry in entries if entry.port == port), None)


def _overlay(base: TrafficPolicy, over: TrafficPolicy) -> TrafficPolicy:
    if over == INHERIT_ALL:
        return base
    return TrafficPolicy(
        load_balancer=_or(over.load_balancer, base.load_balancer),
        locality=base.locality if over.load_balancer == INHERIT else over.locality,
        connection_pool=_or(over.connection_pool, base.connection_pool),
        outlier=_or(over.outlier, base.outlier),
        tls=_or(over.tls, base.tls),
    )


def _or(over: T | Inherit, base: T | Inherit) -> T | Inherit:
    return base if over == INHERIT else over


@derived
def access_rules_for(inputs: Inputs, key: WorkloadKey) -> tuple[AccessRule, ...]:
    """All rules for a workload, those of its own namespace and of the root's; none hides another one.

    In order of age, which makes no difference but to which of them is said to have decided
    (Istio `AuthorizationPolicy.selector`).
    """
    workload = inputs.workloads.get(key)
    if workload is None:
        return ()
    places = dict.fromkeys((inputs.mesh.root_namespace, key.namespace))
    targets = ((namespace, label) for namespace in places for label in label_keys(workload.labels))
    found = (inputs.access_rules.get(each) for target in targets for each in inputs.access_rules_by_target.get(target))
    rules = [rule for rule in found if rule is not None and workload.labels.select(rule.labels)]
    return tuple(sorted(rules, key=lambda rule: (rule.created, rule.origin.config)))
