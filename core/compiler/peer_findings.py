"""What is wrong between rules of mutual TLS: callers and those they call want different things, or nobody is meant."""

from collections.abc import Iterator

from core.compiler.inputs import Inputs
from core.compiler.peers import peers
from core.compiler.precedence import Policy, effective
from core.diagnostics import Diagnostic, Severity
from core.ir.security import MeshTls, PeerRule, PlainBytes
from core.ir.traffic import DestinationPolicy
from core.model.config import Origin
from core.model.service import Instance, Port, Service


def selects_nobody(inputs: Inputs, rule: PeerRule) -> Iterator[Diagnostic]:
    """A rule for certain workloads of which there are none."""
    found = (inputs.workloads.get(key) for key in inputs.workloads_by_namespace.get(rule.namespace))
    if rule.labels and not any(each is not None and each.labels.select(rule.labels) for each in found):
        yield Diagnostic(
            code="IST0127",
            severity=Severity.WARNING,
            message=f"no workload of namespace {rule.namespace} has these labels: the document has no effect",
            fix="correct the labels, or start a workload that carries them",
            origin=rule.origin.at("selector").at("matchLabels"),
        )


def disagreements_on_tls(inputs: Inputs, policy: DestinationPolicy, service: Service) -> Iterator[Diagnostic]:
    """One finding for each port that cannot be called as the rule says; subsets aside."""
    own = Policy(policy=policy.policy, ports=policy.ports)
    instances = _instances(inputs, service)
    for port in service.ports:
        tls = effective(own, port.number, None).tls
        if isinstance(tls, PlainBytes) and (strict := _strict(inputs, port, instances)):
            what = f"{strict} takes nothing but mutual TLS on port {port.number}, and the rule calls it without"
            yield _conflict(what, "take tls out: mutual TLS is spoken by itself", policy.origin)
        if isinstance(tls, MeshTls) and (bare := _bare(inputs, port, instances)):
            what = f"{bare}, and the rule calls port {port.number} with the mesh's mutual TLS"
            yield _conflict(what, "take tls out: mutual TLS is spoken with whoever has it", policy.origin)


def _conflict(what: str, fix: str, origin: Origin) -> Diagnostic:
    message, at = f"{what}: such calls fail", origin.at("trafficPolicy")
    return Diagnostic(code="IST0113", severity=Severity.ERROR, message=message, fix=fix, origin=at)


def _strict(inputs: Inputs, port: Port, instances: list[Instance]) -> str:
    """The first workload that takes nothing else there."""
    return next((str(each.workload) for each in instances if _is_strict(inputs, port, each)), "")


def _is_strict(inputs: Inputs, port: Port, instance: Instance) -> bool:
    number = instance.port(port.name)
    if instance.identity is None or instance.workload is None or number is None:
        return False
    return peers(inputs, instance.workload.namespace).at(instance.labels, number) == "STRICT"


def _bare(inputs: Inputs, port: Port, instances: list[Instance]) -> str:
    """The first workload that has none; a gRPC server without a proxy has it where nothing else is allowed."""
    for each in instances:
        if each.identity is None:
            return f"{each.workload or each.address} has no proxy of the mesh"
        if each.proxyless and not _is_strict(inputs, port, each):
            return f"{each.workload}, a gRPC server without a proxy, takes plain connections unless STRICT is demanded"
    return ""


def _instances(inputs: Inputs, service: Service) -> list[Instance]:
    found = (inputs.instances.get(key) for key in inputs.instances_by_service.get(service.key))
    return [each for each in found if each is not None]
