"""What is wrong with gateways beside other documents, workloads and secrets; and with rules that name gateways."""

from collections.abc import Iterator

from core.compiler.gateways import Served, covered, gateways_of, settled, sni
from core.compiler.inputs import Inputs
from core.diagnostics import Diagnostic, Severity
from core.ir.gateway import GatewayRule, Server, Stored, Terminated
from core.ir.routing import MESH, RouteRule
from core.model.config import ConfigKey, Origin
from core.model.secret import SecretKey
from core.model.workload import Workload

_GROUP, _KIND = "networking.istio.io", "Gateway"


def gateway_findings(inputs: Inputs, rule: GatewayRule) -> Iterator[Diagnostic]:
    """About a Gateway, in the order of its fields."""
    keys = inputs.gateway_workloads.get("")
    known = [workload for key in keys if (workload := inputs.workloads.get(key)) is not None]
    selected = [workload for workload in known if workload.labels.select(rule.selector)]
    for server in rule.servers:
        yield from _port(server, selected)
        yield from _clashes(inputs, rule, server, selected)
        yield from dict.fromkeys(each for workload in selected for each in _secret(inputs, server, workload))
    if not selected:
        yield _nobody(rule, known)


def _nobody(rule: GatewayRule, known: list[Workload]) -> Diagnostic:
    wanted = ", ".join(f"{name}={value}" for name, value in rule.selector)
    there = "; ".join(f"{each.key} has {_labels(each)}" for each in known) or "there is none at all"
    message = f"no gateway has the labels {wanted}, so nobody listens ({there})"
    fix = "correct the selector, or add a gateway with these labels (`gateways` in the mesh file)"
    return _error("IST0101", message, fix, rule.origin.at("selector"))


def _labels(workload: Workload) -> str:
    return ", ".join(f"{name}={value}" for name, value in workload.labels) or "none"


def _port(server: Server, selected: list[Workload]) -> Iterator[Diagnostic]:
    opened = sorted({entry.port for workload in selected for entry in workload.ports})
    if selected and server.port not in opened:
        ports = ", ".join(map(str, opened)) or "none"
        yield Diagnostic(
            code="IST0162",
            severity=Severity.WARNING,
            message=f"nothing leads to port {server.port} of the gateway; its ports are {ports}",
            fix="use one of them, or add the port to the gateway (`gateways` in the mesh file)",
            origin=server.origin.at("port").at("number"),
        )


# -- two for one place -------------------------------------------------------------------------------------------------


def _clashes(inputs: Inputs, rule: GatewayRule, server: Server, selected: list[Workload]) -> Iterator[Diagnostic]:
    found: dict[Diagnostic, None] = {}
    for workload in selected:
        if any(entry.port == server.port for entry in workload.ports):
            served = settled(gateways_of(inputs, workload.key), server.port)
            found |= dict.fromkeys(_clash(rule, server, served))
    yield from found


def _clash(rule: GatewayRule, server: Server, served: tuple[Served, ...]) -> Iterator[Diagnostic]:
    own = next((each for each in served if each.gateway == rule.name and each.server == server), None)
    first = served[0]
    if (first.server.tls is None) is not (server.tls is None):
        message = f"port {server.port} is {_spoken(first.server)} for Gateway {first.gateway}, which came first"
        fix = "use another port for one of them"
        yield _error("IST0145", f"{message}: this server is not there", fix, server.origin.at("port"))
        return
    lost = [host for host in server.hosts if own is None or host not in own.hosts]
    for host in lost:
        holder = next(each for each in served if sni(host) in map(sni, each.hosts))
        message = f"host {host.host!r} on port {server.port} belongs to Gateway {holder.gateway}, which came first"
        fix = "name each host in one Gateway only"
        yield _error("IST0145", f"{message}: here it has no effect", fix, server.origin.at("hosts"))


def _spoken(server: Server) -> str:
    return "plain HTTP" if server.tls is None else "HTTPS"


# -- secrets -----------------------------------------------------------------------------------------------------------


def _secret(inputs: Inputs, server: Server, workload: Workload) -> Iterator[Diagnostic]:
    tls = server.tls
    if tls is None or not isinstance(tls.certificate, Stored):
        return
    key = SecretKey(workload.key.namespace, tls.certificate.name)
    if (problem := _problem(inputs, tls, key)) is not None:
        at = server.origin.at("tls").at("credentialName")
        fix = "give it a certificate and the key to it, in PEM (`secrets` in the mesh file)"
        yield _error("IST0161", f"secret {key} {problem}", fix, at)


def _problem(inputs: Inputs, tls: Terminated, key: SecretKey) -> str | None:
    secret, wrong = inputs.secrets.get(key), inputs.secret_problems.get(key)
    hidden = "so this server is not there"
    if secret is None:
        return f"cannot be used, {hidden}: {wrong}" if wrong else f"does not exist, {hidden}"
    if tls.mutual and not secret.roots:
        return f"has no roots (ca) by which mode MUTUAL knows callers, {hidden}"
    return f"has become unusable: {wrong}; the server goes on with the last good one" if wrong else None


# -- rules -------------------------------------------------------------------------------------------------------------


def rule_findings(inputs: Inputs, rule: RouteRule) -> Iterator[Diagnostic]:
    """About a rule: gateways that are not there, and hosts that none of its gateways serves."""
    for i, name in enumerate(rule.gateways):
        if name != MESH and _gateway(inputs, name) is None:
            yield _missing(name, rule.origin.at("gateways").at(i))
    for match in (match for route in rule.http for match in route.matches):
        for i, name in enumerate(match.source.gateways):
            if name not in (MESH, *rule.gateways) and _gateway(inputs, name) is None:
                yield _missing(name, match.origin.at("gateways").at(i))
    if MESH not in rule.gateways:
        yield from _uncovered(inputs, rule)


def _gateway(inputs: Inputs, name: str) -> GatewayRule | None:
    namespace, _, short = name.partition("/")
    return inputs.gateways.get(ConfigKey(_GROUP, _KIND, namespace, short))


def _missing(name: str, at: Origin) -> Diagnostic:
    message = f"there is no Gateway {name} in force, so nobody outside gets to these routes"
    return _error("IST0101", message, "correct the name, or apply that Gateway", at)


def _uncovered(inputs: Inputs, rule: RouteRule) -> Iterator[Diagnostic]:
    there = [gateway for name in rule.gateways if (gateway := _gateway(inputs, name)) is not None]
    hosts = tuple(dict.fromkeys(host for gateway in there for server in gateway.servers for host in server.hosts))
    namespace = rule.origin.config.namespace
    for i, host in enumerate(rule.hosts):
        if there and not covered((host,), hosts, namespace=namespace):
            known = ", ".join(f"{each.namespace}/{each.host}" for each in hosts)
            yield Diagnostic(
                code="IST0132",
                severity=Severity.WARNING,
                message=f"no server of its gateways has host {host!r}; they have {known}",
                fix="add the host to a server of the Gateway, or correct it here",
                origin=rule.origin.at("hosts").at(i),
            )


def _error(code: str, message: str, fix: str, origin: Origin) -> Diagnostic:
    return Diagnostic(code=code, severity=Severity.ERROR, message=message, fix=fix, origin=origin)
