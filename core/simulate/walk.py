"""The way of a call: listener, chain, virtual host, route, upstream, endpoints."""

from typing import Protocol, assert_never

import msgspec

from core.ir.values import Abort, Delay, Redirect, Respond
from core.simulate.accept import Connection, admits, as_proxies_do, chain_for, plain
from core.simulate.admission import Facts, refusal
from core.simulate.answers import aborted, answered
from core.simulate.call import Answered, Arrived, Call, Mirrored, Outcome, Refused, Result, Step
from core.simulate.effects import Way, forwarded, response_headers, response_steps
from core.simulate.endpoints import in_use
from core.simulate.entrance import entered
from core.simulate.match import matches, virtual_host
from core.simulate.redirect import location
from core.simulate.request import Request, first_caller, request_of, undotted
from core.simulate.rewrite import normalised
from core.view.listener import FilterChain, HttpChain, InProcess, Listener, NamedRoutes, TcpChain
from core.view.route import ForwardTo, MirrorTo, Route, RouteConfiguration, Tunnel, WeightedUpstream
from core.view.security import NO_TLS
from core.view.upstream import Endpoint, Internal, LoadAssignment, Upstream


class View(Protocol):
    """What one proxy sees; `core.compiler.view.ProxyView` is one."""

    def listeners(self) -> tuple[Listener, ...]: ...
    def routes(self, name: str) -> RouteConfiguration | None: ...
    def upstreams(self) -> dict[str, Upstream]: ...
    def endpoints(self) -> dict[str, LoadAssignment]: ...


def simulate(view: View, call: Call, *, entrance: tuple[str, int]) -> Outcome:
    """Follows `call` through the proxy whose view this is, up to the other side's proxy.

    `entrance` is the address and port the application connects to: the HTTP forward proxy's for `via` "proxy" and
    "tunnel", the service's virtual address and port for "virtual", what it means to reach for "captured", and the
    called workload's own for "inbound".
    """
    walk = _Walk(view, call, entrance)
    listener = entered(view.listeners(), entrance, call.via)
    if listener is None:
        return Outcome(results=(Refused(share=1.0, reason=f"nothing listens on {entrance[0]}:{entrance[1]}"),))
    results = walk.connect(listener, tunnelled=call.via == "tunnel")
    return Outcome(results=results, mirrors=tuple(walk.mirrors), steps=tuple(walk.steps), delay=walk.delay)


class _Walk:
    def __init__(self, view: View, call: Call, entrance: tuple[str, int]) -> None:
        self.view = view
        self.call = call
        self.entrance = entrance
        self.request = request_of(call)
        self.steps: list[Step] = []
        self.mirrors: list[Mirrored] = []
        self.delay: Delay | None = None

    # -- arriving ------------------------------------------------------------------------------------------------------

    def connect(self, listener: Listener, *, tunnelled: bool = False) -> tuple[Result, ...]:
        """`tunnelled`: what arrives here first is a CONNECT request."""
        self.steps.append(Step("listener", listener.name))
        connection = self._connection(tunnelled=tunnelled)
        chain = chain_for(listener.chains, connection)
        if chain is None or not self._understood(chain, connection):
            return (Refused(share=1.0, reason=f"no filter chain of {listener.name} takes these bytes"),)
        return self._serve(chain.serve, tunnelled=tunnelled)

    def _connection(self, *, tunnelled: bool) -> Connection:
        if self.call.sni is not None:
            return Connection(transport="tls", server_name=self.call.sni, protocols=("http/1.1",))
        if self.call.shown is not None:
            return as_proxies_do(self.call, self.call.shown)
        return plain(http=tunnelled or self.call.protocol != "tcp", port=self.call.port)

    def _understood(self, chain: FilterChain, connection: Connection) -> bool:
        """TLS must end here when somebody from outside speaks it."""
        outside = self.call.sni is not None or self.call.shown is not None
        return admits(chain, connection) and (not outside or chain.security != NO_TLS)

    def _serve(self, serve: HttpChain | TcpChain, *, tunnelled: bool) -> tuple[Result, ...]:
        if isinstance(serve, TcpChain):
            refused = self._refused(serve, None)
            return (refused,) if refused is not None else self._spread(serve.upstreams, None)
        if self.call.protocol == "tcp" and not tunnelled:
            return (Answered(share=1.0, status=400, flag="DPE"),)
        if (refused := self._refused(serve, self.request)) is not None:
            return (refused,)
        routes = serve.routes
        found = self.view.routes(routes.name) if isinstance(routes, NamedRoutes) else routes
        if found is None:
            return (self._answered(404, flag="NR"),)
        self.steps.append(Step("route configuration", found.name))
        return self._route(found, tunnelled=tunnelled)

    def _refused(self, serve: HttpChain | TcpChain, request: Request | None) -> Result | None:
        """What policies make of the call when they do not let it in; the last step tells which."""
        call, edge = self.call, isinstance(serve, HttpChain) and serve.edge
        facts = Facts(
            identity=call.identity if call.shown == "mesh" else "",
            address=call.address,
            origin=call.address if edge or request is None else first_caller(request, call.address),
            destination=self.entrance,
            server_name=call.sni or "",
            request=request,
        )
        found = refusal(serve.checks, facts)
        if found is None:
            return None
        if found.policy is None:
            self.steps.append(Step("policy", "no ALLOW policy is for this call"))
        else:
            self.steps.append(Step("policy", found.policy.name, found.policy.origin))
        if request is None:
            return Refused(share=1.0, reason=f"access denied: {self.steps[-1].name}")
        return msgspec.structs.replace(self._answered(403), body=b"RBAC: access denied")

    def _route(self, configuration: RouteConfiguration, *, tunnelled: bool) -> tuple[Result, ...]:
        authority = undotted(f"{self.call.host}:{self.call.port}") if tunnelled else self.request.authority
        host = virtual_host(configuration, authority)
        if host is None:
            return (self._answered(404, flag="NR"),)
        self.steps.append(Step("virtual host", host.name))
        for route in host.routes:
            if isinstance(route.action, Tunnel) == tunnelled and (tunnelled or matches(route.match, self.request)):
                self.steps.append(Step("route", route.name, route.origin))
                return self._act(route)
        return (self._answered(404, flag="NR"),)

    # -- acting --------------------------------------------------------------------------------------------------------

    def _act(self, route: Route) -> tuple[Result, ...]:
        match route.action:
            case Tunnel(upstream):
                return self._reach(Way(WeightedUpstream(upstream), 1.0, route))
            case ForwardTo():
                return self._forward(route, route.action)
            case Redirect():
                return (self._redirected(route, route.action),)
            case Respond(status, body):
                headers = response_headers(self.request, route)
                return (msgspec.structs.replace(self._answered(status), body=body, headers=headers),)
            case _:
                assert_never(route.action)

    def _redirected(self, route: Route, to: Redirect) -> Answered:
        where = location(to, self.request, matched=route.match.path)
        headers = response_headers(self.request, route)
        return msgspec.structs.replace(self._answered(to.code), location=where, headers=headers)

    def _answered(self, status: int, *, share: float = 1.0, flag: str = "") -> Answered:
        return answered(status, share=share, flag=flag, grpc=self.request.is_grpc)

    def _forward(self, route: Route, action: ForwardTo) -> tuple[Result, ...]:
        abort = route.fault.abort if route.fault else None
        self.delay = route.fault.delay if route.fault else None
        rest = 1 - abort.per_million / 1_000_000 if abort else 1.0
        self.mirrors = [copy for each in action.mirrors if rest for copy in self._mirrored(each, route, rest)]
        results = self._spread(action.upstreams, route) if rest else ()
        left = (msgspec.structs.replace(result, share=result.share * rest) for result in results)
        return (*(self._aborts(route, action, abort) if abort else ()), *left)

    def _aborts(self, route: Route, action: ForwardTo, abort: Abort) -> tuple[Answered, ...]:
        """The destination is chosen before the fault strikes, and its headers are on the answer."""
        share = abort.per_million / 1_000_000
        if not any(each.headers.response for each in action.upstreams):
            return (self._aborted(abort, Way(action.upstreams[0], share, route)),)
        total = sum(each.weight for each in action.upstreams)
        parts = ((each, share * each.weight / total) for each in action.upstreams)
        return tuple(self._aborted(abort, Way(each, part, route)) for each, part in parts if part)

    def _aborted(self, abort: Abort, way: Way) -> Answered:
        if abort.kind == "grpc":
            answer = aborted(abort.status, share=way.share, grpc=self.request.is_grpc)
        else:
            answer = self._answered(abort.status, share=way.share, flag="FI")
        return msgspec.structs.replace(answer, headers=response_headers(self.request, way.route, way.target))

    # -- forwarding ----------------------------------------------------------------------------------------------------

    def _spread(self, upstreams: tuple[WeightedUpstream, ...], route: Route | None) -> tuple[Result, ...]:
        total = sum(each.weight for each in upstreams)
        ways = (Way(each, each.weight / total, route) for each in upstreams if each.weight)
        return tuple(result for way in ways for result in self._reach(way))

    def _reach(self, way: Way) -> tuple[Result, ...]:
        name = way.target.upstream
        upstream = self.view.upstreams().get(name)
        self.steps.append(Step("upstream", name))
        if upstream is None:
            return (self._missing(way),)
        if isinstance(upstream.endpoints, Internal):
            return self._inside(upstream.endpoints.listener)
        endpoints = in_use(upstream, self.view.endpoints())
        return (self._empty(way) if endpoints == () else self._arrived(upstream, endpoints or (), way),)

    def _inside(self, name: str) -> tuple[Result, ...]:
        found = (each for each in self.view.listeners() if each.name == name and isinstance(each.bind, InProcess))
        return self.connect(next(found))

    def _missing(self, way: Way) -> Result:
        if way.route is None:
            return Refused(share=way.share, reason=f"{way.target.upstream} does not exist")
        headers = response_headers(self.request, way.route, way.target)
        return msgspec.structs.replace(self._answered(503, share=way.share, flag="NC"), headers=headers)

    def _empty(self, way: Way) -> Result:
        """By now the request has been changed, and that is what is said of it on the answer."""
        if way.route is None:
            return Refused(share=way.share, reason=f"{way.target.upstream} has no endpoints")
        headers = response_headers(forwarded(self.request, way), way.route, way.target)
        return msgspec.structs.replace(self._answered(503, share=way.share, flag="UH"), headers=headers)

    def _arrived(self, upstream: Upstream, endpoints: tuple[Endpoint, ...], way: Way) -> Arrived | Answered:
        arrived = Arrived(share=way.share, upstream=upstream.name, endpoints=endpoints)
        if self.call.protocol == "tcp":
            return arrived
        request, action = forwarded(self.request, way), way.route.action if way.route else None
        if not request.target.startswith("/"):
            return self._malformed(request, way)
        arrived = msgspec.structs.replace(
            arrived,
            # The other side's proxy does it once more, with what rules have made of the path.
            path=normalised(request.target) if endpoints else request.target,
            authority=request.authority,
            headers=request.headers,
            response=response_steps(way.route, way.target),
        )
        if not isinstance(action, ForwardTo):
            return arrived
        return msgspec.structs.replace(arrived, timeout=action.timeout, retry=action.retry, hash_key=action.hash_key)

    def _malformed(self, request: Request, way: Way) -> Answered:
        """A rewritten path that does not begin with / goes out, and the other side's proxy refuses it."""
        headers = response_headers(request, way.route, way.target)
        return msgspec.structs.replace(self._answered(400, share=way.share), headers=headers)

    def _mirrored(self, mirror: MirrorTo, route: Route, share: float) -> list[Mirrored]:
        upstream = self.view.upstreams().get(mirror.upstream)
        endpoints = in_use(upstream, self.view.endpoints()) if upstream is not None else ()
        if not endpoints:
            return []
        request = forwarded(self.request, Way(WeightedUpstream(mirror.upstream), share, route))
        host, colon, port = request.authority.partition(":")
        copied = share * mirror.per_million / 1_000_000
        authority = f"{host}-shadow{colon}{port}"
        return [Mirrored(share=copied, upstream=mirror.upstream, endpoints=endpoints, authority=authority)]
