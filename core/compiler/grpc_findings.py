"""What gRPC applications without a proxy cannot follow of a rule, told on its document once there is such a caller.

What they do instead is in `proxyless` and docs/reference/proxyless-grpc.md. Nothing here reads a rule for proxies.
"""

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from core.compiler.inputs import Inputs
from core.compiler.precedence import service_for
from core.compiler.proxyless import MOST_ABSENT, MOST_RETRIES, is_grpc_call
from core.diagnostics import Diagnostic, Severity
from core.incremental import derived
from core.ir.declared import Declaration
from core.ir.routing import MESH, Forward, HttpRoute, Match, RouteRule
from core.ir.security import ServerTls
from core.ir.traffic import (
    UNLIMITED,
    Balance,
    ConnectionPool,
    ConsistentHash,
    DestinationPolicy,
    HashCookie,
    HashQuery,
    Outlier,
    TrafficPolicy,
)
from core.ir.values import DEFAULT_RETRY, Retry
from core.model.config import Origin
from core.model.protocol import Protocol
from core.model.service import Resolution, Service

CODE = "MSH0020"

CALLERS = ""
"""The key of `Inputs.grpc_workloads` under which all stand."""

_SURELY_GRPC = (Protocol.GRPC, Protocol.HTTP2)
_MAY_BE_GRPC = (*_SURELY_GRPC, Protocol.AUTO)

_RETRIED = frozenset({"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"})
"""The conditions for another attempt that gRPC knows (gRFC A44); what is in Istio's default goes without saying."""

Finding = tuple[Origin, str, str]
"""Where, what is not followed, and what comes of it."""

IGNORED = "it is ignored"
PASSED_OVER = "it never matches"
FAILS = "such calls fail with UNAVAILABLE"


@derived
def has_grpc_callers(inputs: Inputs) -> bool:
    """Whether some workload of the mesh is a gRPC application without a proxy."""
    return bool(inputs.grpc_workloads.get(CALLERS))


def not_followed_of_routes(inputs: Inputs, rule: RouteRule) -> Iterator[Diagnostic]:
    """Findings of a VirtualService: for sidecars, and for a service that gRPC may call."""
    if MESH not in rule.gateways:
        return
    found = [each for route in rule.http for each in _route(route)]
    namespace = rule.origin.config.namespace
    if found and any(_may_be_grpc(service_for(inputs, namespace, host)) for host in rule.hosts):
        yield from _told(inputs, found)


def not_followed_of_policy(inputs: Inputs, policy: DestinationPolicy, service: Service) -> Iterator[Diagnostic]:
    """Findings of a DestinationRule for `service`."""
    found = [each for block, origin in _blocks(policy) for each in _policy(block, origin.at("trafficPolicy"))]
    if found and _may_be_grpc(service):
        yield from _told(inputs, found)


def not_reached(inputs: Inputs, declaration: Declaration) -> Iterator[Diagnostic]:
    """Findings of a ServiceEntry: gRPC looks no names up."""
    declared = (each.port.protocol for each in declaration.ports)
    if declaration.resolution is Resolution.DNS and any(each in _SURELY_GRPC for each in declared):
        yield from _told(inputs, [(declaration.origin.at("resolution"), "services by DNS", FAILS)])


def _told(inputs: Inputs, found: Iterable[Finding]) -> Iterator[Diagnostic]:
    if not has_grpc_callers(inputs):
        return
    for origin, what, consequence in dict.fromkeys(found):
        yield Diagnostic(
            code=CODE,
            severity=Severity.WARNING,
            message=f"gRPC applications without a proxy do not know {what}: {consequence}",
            fix="give callers that need it a sidecar, or express the rule without it",
            origin=origin,
        )


def _may_be_grpc(service: Service | None) -> bool:
    return service is not None and any(port.protocol in _MAY_BE_GRPC for port in service.ports)


# -- routes ------------------------------------------------------------------------------------------------------------


def _route(route: HttpRoute) -> Iterator[Finding]:
    for match in route.matches:
        yield from _match(match)
    if route.headers:
        yield route.origin.at("headers"), "headers", IGNORED
    if isinstance(route.action, Forward):
        yield from _forward(route.action, route.origin)
    else:
        yield route.origin, "redirects and direct responses", FAILS


def _match(match: Match) -> Iterator[Finding]:
    request = match.request
    if request.query:
        yield match.origin.at("queryParams"), "queryParams", PASSED_OVER
    if request.authority is not None:
        yield match.origin.at("authority"), "authority", PASSED_OVER
    if len(request.without_headers) > MOST_ABSENT:
        yield match.origin.at("withoutHeaders"), f"more than {MOST_ABSENT} withoutHeaders", PASSED_OVER
    for name in (name for name, _ in request.headers if name.endswith("-bin") or name.startswith("grpc-")):
        yield match.origin.at("headers").at(name), f"matches on {name}", PASSED_OVER
    if not is_grpc_call(request):
        yield match.origin, "calls that are not POST by http", PASSED_OVER


def _forward(action: Forward, origin: Origin) -> Iterator[Finding]:
    if action.rewrite.path is not None or action.rewrite.authority:
        yield origin.at("rewrite"), "rewrite", IGNORED
    if action.mirrors:
        yield origin.at("mirrors"), "mirrors", IGNORED
    for index, share in enumerate(action.shares):
        if share.headers:
            yield origin.at("route").at(index).at("headers"), "headers", IGNORED
    if isinstance(action.retry, Retry):
        yield from _retry(action.retry, origin.at("retries"))


def _retry(retry: Retry, origin: Origin) -> Iterator[Finding]:
    if retry.per_try_timeout:
        yield origin.at("perTryTimeout"), "perTryTimeout", IGNORED
    if retry.attempts > MOST_RETRIES:
        yield origin.at("attempts"), f"more than {MOST_RETRIES} attempts", "there are no more"
    known = _RETRIED.union(DEFAULT_RETRY.conditions)
    for condition in (each for each in retry.conditions if retry.attempts and each not in known):
        yield origin.at("retryOn"), f"retries on {condition}", IGNORED


# -- policies ----------------------------------------------------------------------------------------------------------


def _blocks(policy: DestinationPolicy) -> Iterator[tuple[TrafficPolicy, Origin]]:
    yield policy.policy, policy.origin
    yield from ((each.policy, policy.origin) for each in policy.ports)
    for subset in policy.subsets:
        yield subset.policy, subset.origin
        yield from ((each.policy, subset.origin) for each in subset.ports)


def _policy(block: TrafficPolicy, origin: Origin) -> Iterator[Finding]:
    if isinstance(block.tls, ServerTls):
        yield origin.at("tls"), "TLS by a rule", FAILS
    if isinstance(block.load_balancer, Balance) and block.load_balancer.policy in ("RANDOM", "PASSTHROUGH"):
        yield origin.at("loadBalancer").at("simple"), block.load_balancer.policy, "they take turns"
    if isinstance(block.load_balancer, ConsistentHash) and isinstance(block.load_balancer.key, HashCookie | HashQuery):
        yield origin.at("loadBalancer").at("consistentHash"), "hashes of cookies and queries", "calls are spread"
    if isinstance(block.outlier, Outlier):
        yield origin.at("outlierDetection"), "outlierDetection by consecutive errors", "it puts nobody aside"
    if isinstance(block.connection_pool, ConnectionPool) and _limits(block.connection_pool):
        yield origin.at("connectionPool"), "limits but http2MaxRequests", IGNORED


def _limits(pool: ConnectionPool) -> bool:
    return replace(pool, max_requests=UNLIMITED, http2="DEFAULT") != ConnectionPool()
