"""What is wrong with policies beside the mesh they are for."""

from collections.abc import Iterator

from core.compiler.grpc_findings import CODE
from core.compiler.inputs import Inputs
from core.diagnostics import Diagnostic, Severity
from core.ir.access import AccessRule
from core.model.workload import Proxyless, Workload


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


def _governed(inputs: Inputs, rule: AccessRule) -> list[Workload]:
    """Of the rule's own namespace."""
    found = (inputs.workloads.get(key) for key in inputs.workloads_by_namespace.get(rule.namespace))
    return [each for each in found if each is not None and each.labels.select(rule.labels)]
