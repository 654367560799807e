"""What is wrong between documents: references to nothing, and rules that another one hides.

What is wrong within one document is found when it is lowered.
"""

from collections.abc import Iterator

from core.compiler.access_findings import asks_for_identities_in_vain, governs_nobody, not_followed_by_grpc
from core.compiler.disagreement import disagreements
from core.compiler.gateway_findings import gateway_findings, rule_findings
from core.compiler.grpc_findings import not_followed_of_policy, not_followed_of_routes, not_reached
from core.compiler.inputs import Inputs, wildcards
from core.compiler.peer_findings import disagreements_on_tls, selects_nobody
from core.compiler.precedence import route_rules_for, service_for
from core.diagnostics import Diagnostic, Severity
from core.incremental import derived
from core.ir.routing import MESH, Destination, Forward, RouteRule
from core.ir.traffic import DestinationPolicy
from core.model.config import ConfigKey, Origin
from core.model.service import Instance, Service


@derived
def findings(inputs: Inputs, key: ConfigKey) -> tuple[Diagnostic, ...]:
    """The findings about one document, in the order of its fields."""
    rule, policy = inputs.route_rules.get(key), inputs.policies.get(key)
    found: list[Diagnostic] = []
    if rule is not None:
        found += _route_findings(inputs, rule)
    if policy is not None:
        found += _policy_findings(inputs, policy)
    gateway = inputs.gateways.get(key)
    if gateway is not None:
        found += gateway_findings(inputs, gateway)
    peers = inputs.peer_rules.get(key)
    if peers is not None:
        found += selects_nobody(inputs, peers)
    access = inputs.access_rules.get(key)
    if access is not None:
        found += (
            *governs_nobody(inputs, access),
            *not_followed_by_grpc(inputs, access),
            *asks_for_identities_in_vain(inputs, access),
        )
    declaration = inputs.declarations.get(key)
    if declaration is not None:
        found += (*disagreements(inputs, declaration), *not_reached(inputs, declaration))
    return tuple(found)


def _route_findings(inputs: Inputs, rule: RouteRule) -> Iterator[Diagnostic]:
    yield from _hidden(inputs, rule)
    yield from not_followed_of_routes(inputs, rule)
    yield from rule_findings(inputs, rule)
    for route in rule.http:
        if isinstance(route.action, Forward):
            for index, share in enumerate(route.action.shares):
                origin = route.origin.at("route").at(index).at("destination")
                yield from _dangling(inputs, rule, share.destination, origin)
            for mirror in route.action.mirrors:
                yield from _dangling(inputs, rule, mirror.destination, route.origin.at("mirrors"))


def _hidden(inputs: Inputs, rule: RouteRule) -> Iterator[Diagnostic]:
    config = rule.origin.config
    for host in rule.hosts if MESH in rule.gateways else ():
        candidates = route_rules_for(inputs, config.namespace, host)
        winner = candidates[0].origin.config if candidates else config
        if winner != config and rule in candidates:
            yield Diagnostic(
                code="IST0109",
                severity=Severity.ERROR,
                message=f"{winner} claims host {host!r} as well and comes first: this document has no effect on it",
                fix="put the routes of one host into one VirtualService",
                origin=rule.origin.at("hosts"),
            )


def _dangling(inputs: Inputs, rule: RouteRule, to: Destination, origin: Origin) -> Iterator[Diagnostic]:
    service = service_for(inputs, rule.origin.config.namespace, to.host)
    if service is None:
        yield _missing(f"host {to.host!r} is no service of this mesh", "name a registered service", origin.at("host"))
        return
    if to.port and service.port(to.port) is None:
        ports = ", ".join(str(port.number) for port in service.ports) or "none"
        yield _missing(f"{to.host} has no port {to.port}; it has {ports}", "name one of its ports", origin.at("port"))
    if to.subset and to.subset not in (known := _subsets(inputs, service.key.host)):
        listed = ", ".join(sorted(known)) or "none"
        fix = f"add subset {to.subset!r} to a DestinationRule for {service.key.host}"
        yield _missing(f"{to.host} has no subset {to.subset!r}; it has {listed}", fix, origin.at("subset"))


def _subsets(inputs: Inputs, host: str) -> set[str]:
    keys = (key for pattern in (host, *wildcards(host)) for key in inputs.policies_by_host.get(pattern))
    policies = (inputs.policies.get(key) for key in keys)
    return {subset.name for policy in policies if policy is not None for subset in policy.subsets}


def _policy_findings(inputs: Inputs, policy: DestinationPolicy) -> Iterator[Diagnostic]:
    if policy.host.startswith("*"):
        return
    service = service_for(inputs, policy.origin.config.namespace, policy.host)
    if service is None:
        what = f"host {policy.host!r} is no service of this mesh"
        yield _ineffective(what, "name a registered service", policy.origin.at("host"))
    elif service.key.host != policy.host:
        what = f"host {policy.host!r} is another name of {service.key.host}"
        yield _ineffective(what, f"write host: {service.key.host}", policy.origin.at("host"))
    else:
        yield from disagreements_on_tls(inputs, policy, service)
        yield from not_followed_of_policy(inputs, policy, service)
        yield from _empty_subsets(inputs, policy, service)


def _ineffective(what: str, fix: str, origin: Origin) -> Diagnostic:
    message = f"{what}: the document has no effect"
    return Diagnostic(code="IST0174", severity=Severity.WARNING, message=message, fix=fix, origin=origin)


def _empty_subsets(inputs: Inputs, policy: DestinationPolicy, service: Service) -> Iterator[Diagnostic]:
    for subset in policy.subsets:
        if not any(instance.labels.select(subset.labels) for instance in _instances(inputs, service)):
            yield Diagnostic(
                code="IST0173",
                severity=Severity.WARNING,
                message=f"subset {subset.name!r} selects no instance of {policy.host}: calls to it get 503",
                fix="correct the subset's labels, or start a workload that carries them",
                origin=subset.origin.at("labels"),
            )


def _instances(inputs: Inputs, service: Service) -> list[Instance]:
    found = (inputs.instances.get(key) for key in inputs.instances_by_service.get(service.key))
    return [instance for instance in found if instance is not None]


def _missing(message: str, fix: str, origin: Origin) -> Diagnostic:
    return Diagnostic(code="IST0101", severity=Severity.ERROR, message=message, fix=fix, origin=origin)
