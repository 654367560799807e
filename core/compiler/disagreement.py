"""Documents that declare one host and disagree on it: which of them a proxy follows depends on namespace and age."""

from collections.abc import Iterator

from core.compiler.inputs import Inputs
from core.diagnostics import Diagnostic, Severity
from core.ir.declared import Declaration
from core.model.service import Service


def disagreements(inputs: Inputs, declaration: Declaration) -> Iterator[Diagnostic]:
    """One finding for each port whose protocol is another one in another document."""
    for host in declaration.hosts:
        for other in _others(inputs, declaration, host):
            yield from _protocols(declaration, other)


def _others(inputs: Inputs, declaration: Declaration, host: str) -> Iterator[Service]:
    own = declaration.origin.config
    for key in inputs.services_by_host.get(host):
        service = inputs.services.get(key)
        if service is not None and key.declared_by and (key.namespace, key.declared_by) != (own.namespace, own.name):
            yield service


def _protocols(declaration: Declaration, other: Service) -> Iterator[Diagnostic]:
    for index, declared in enumerate(declaration.ports):
        port, theirs = declared.port, other.port(declared.port.number)
        if theirs is not None and theirs.protocol is not port.protocol:
            key = other.key
            yield Diagnostic(
                code="IST0177",
                severity=Severity.WARNING,
                message=f"port {port.number} of {key.host} is {port.protocol} here, "
                f"and {theirs.protocol} in {key.namespace}/{key.declared_by}",
                fix="declare one protocol in both",
                origin=declaration.origin.at("ports").at(index),
            )
