"""What is wrong with policies beside the mesh they are for."""

from collections.abc import Iterator
from typing import Final

from core.compiler.grpc_findings import CODE
from core.compiler.inputs import Inputs
from core.compiler.peers import peers
from core.diagnostics import Diagnostic, Severity
from core.ir.access import AccessRule, Clause, Identity, Port, What, Who
from core.ir.security import MutualTls
from core.model.workload import Proxyless, Workload

IN_VAIN: Final = "MSH0021"
"""Stable code: a policy asks for identities where callers have none."""

_DEMAND: Final = "demand mutual TLS there: a PeerAuthentication with mode STRICT"


def governs_nobody(inputs: Inputs, rule: AccessRule) -> Iterator[Diagnostic]:
    """A policy for certain workloads of which there are none; one of the root namespace is for those of any."""
    if not rule.labels or rule.namespace == inputs.mesh.root_namespace:
        return
    if not _governed(inputs, rule):
        yield Diagnostic(
            code="IST0127",
            severity=Severity.WARNING,
            message=f"no workload of namespace {rule.namespace} has these labels: nobody's callers are checked",
            fix="correct the labels, or start a workload that carries them",
            origin=rule.origin.at("selector").at("matchLabels"),
        )


def not_followed_by_grpc(inputs: Inputs, rule: AccessRule) -> Iterator[Diagnostic]:
    """What a gRPC server without a proxy leaves out; it refuses nobody, so nothing else gives it away."""
    if rule.action != "AUDIT" and not rule.dry_run:
        return
    servers = [each for each in _governed(inputs, rule) if isinstance(each.capture, Proxyless)]
    if servers:
        what = "action AUDIT" if rule.action == "AUDIT" else "a dry run"
        yield Diagnostic(
            code=CODE,
            severity=Severity.WARNING,
            message=f"{servers[0].key} is a gRPC server without a proxy, to which {what} means nothing: it is ignored",
            fix="give the workload a sidecar",
            origin=rule.origin.at("action"),
        )


def asks_for_identities_in_vain(inputs: Inputs, rule: AccessRule) -> Iterator[Diagnostic]:
    """A denial that who calls in plain bytes gets round, or a permission for which nobody can have the identity.

    Of the root namespace nothing but the mode for everybody is looked at, so that nothing depends on every workload.
    """
    if rule.dry_run or rule.action == "AUDIT":
        return
    spared = rule.action == "DENY" and any(_is_for_strangers(clause) for clause in rule.clauses)
    for index, clause in enumerate(rule.clauses):
        if spared or not clause.sources or _is_for_strangers(clause):
            continue
        if found := _in_vain(inputs, rule, clause):
            yield Diagnostic(
                code=IN_VAIN,
                severity=Severity.WARNING,
                message=found,
                fix=_DEMAND,
                origin=rule.origin.at("rules").at(index).at("from"),
            )


def _in_vain(inputs: Inputs, rule: AccessRule, clause: Clause) -> str:
    if rule.action == "ALLOW":
        bare = next((each for each in _found_at(inputs, rule) if _modes(inputs, each, clause) <= {"DISABLE"}), None)
        return f"{bare.key} speaks no mutual TLS, so nobody has an identity: this rule allows nobody" if bare else ""
    if rule.namespace == inputs.mesh.root_namespace:
        plain = "" if peers(inputs, rule.namespace).mode == "STRICT" else "the mesh"
    else:
        open_to = (each for each in _found_at(inputs, rule) if _modes(inputs, each, clause) != {"STRICT"})
        plain = next((str(each.key) for each in open_to), "")
    return f"{plain} takes plain bytes as well: who calls so has no identity, and is not denied" if plain else ""


def _is_for_strangers(clause: Clause) -> bool:
    """Whether it is for who has no identity, too."""
    return any(all(not _is_somebody(test) for test in every) for every in clause.sources)


def _is_somebody(test: Who) -> bool:
    return bool(test.any_of) and all(isinstance(each, Identity) for each in test.any_of)


def _found_at(inputs: Inputs, rule: AccessRule) -> list[Workload]:
    """Gateways have terms of their own."""
    return [each for each in _governed(inputs, rule) if each.role != "gateway"]


def _modes(inputs: Inputs, workload: Workload, clause: Clause) -> set[MutualTls]:
    """Of mutual TLS at the ports that a clause is for. A gRPC server takes plain connections or TLS, never both."""
    demanded = peers(inputs, workload.key.namespace)
    asked = [_ports(every) for every in clause.operations]
    ports = {port for each in asked for port in each} if all(asked) else {0, *demanded.ports(workload.labels)}
    modes = {demanded.at(workload.labels, port) for port in ports}
    bare: dict[MutualTls, MutualTls] = {"PERMISSIVE": "DISABLE"} if isinstance(workload.capture, Proxyless) else {}
    return {bare.get(mode, mode) for mode in modes}


def _ports(every: tuple[What, ...]) -> set[int]:
    return {each.number for what in every for each in what.any_of if isinstance(each, Port)}


def _governed(inputs: Inputs, rule: AccessRule) -> list[Workload]:
    """Of the rule's own namespace."""
    found = (inputs.workloads.get(key) for key in inputs.workloads_by_namespace.get(rule.namespace))
    return [each for each in found if each is not None and each.labels.select(rule.labels)]
