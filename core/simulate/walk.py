"""The way of a call: listener, chain, virtual host, route, upstream, endpoints."""

from typing import Protocol, assert_never

import msgspec
import re2

from core.ir.values import Abort, Delay, Fault, Headers, Prefix, Redirect, RegexRewrite, Respond, UriRewrite
from core.simulate.call import Answered, Arrived, Call, Outcome, Refused, Step
from core.simulate.match import Request, matches, virtual_host
from core.view.listener import HttpChain, InProcess, Listener, NamedRoutes, Socket, TcpChain
from core.view.route import ForwardTo, Route, RouteConfiguration, Tunnel, WeightedUpstream
from core.view.upstream import AnyHost, Discovered, Endpoint, Internal, LoadAssignment, Nowhere, Static, Upstream

Result = Arrived | Answered | Refused


class View(Protocol):
    """What one proxy sees; `core.compiler.view.ProxyView` is one."""

    def listeners(self) -> tuple[Listener, ...]: ...
    def routes(self, name: str) -> RouteConfiguration | None: ...
    def upstreams(self) -> dict[str, Upstream]: ...
    def endpoints(self) -> dict[str, LoadAssignment]: ...


def simulate(view: View, call: Call, *, entrance: tuple[str, int]) -> Outcome:
    """Follows `call` through the proxy whose view this is.

    `entrance` is the address and port the application connects to: the HTTP forward proxy's for `via` "proxy" and
    "tunnel", the service's virtual address and port for "virtual".
    """
    walk = _Walk(view, call)
    listener = next((each for each in view.listeners() if each.bind == Socket(*entrance)), None)
    if listener is None:
        return Outcome(results=(Refused(share=1.0, reason=f"nothing listens on {entrance[0]}:{entrance[1]}"),))
    results = walk.connect(listener, tunnelled=call.via == "tunnel")
    return Outcome(results=results, steps=tuple(walk.steps), delay=walk.delay)


class _Walk:
    def __init__(self, view: View, call: Call) -> None:
        self.view = view
        self.call = call
        self.steps: list[Step] = []
        self.delay: Delay | None = None

    def connect(self, listener: Listener, *, tunnelled: bool = False) -> tuple[Result, ...]:
        """`tunnelled`: what arrives here first is a CONNECT request."""
        self.steps.append(Step("listener", listener.name))
        speaks_http = tunnelled or self.call.protocol == "http"
        for chain in listener.chains:
            if chain.sniffed == "any" or speaks_http:
                return self._serve(chain.serve, tunnelled=tunnelled)
        return (Refused(share=1.0, reason=f"no filter chain of {listener.name} takes these bytes"),)

    def _serve(self, serve: HttpChain | TcpChain, *, tunnelled: bool) -> tuple[Result, ...]:
        if isinstance(serve, TcpChain):
            return self._spread(serve.upstreams, route=None)
        if self.call.protocol == "tcp" and not tunnelled:
            return (Answered(share=1.0, status=400, flag="DPE"),)
        routes = serve.routes
        found = self.view.routes(routes.name) if isinstance(routes, NamedRoutes) else routes
        if found is None:
            return (Answered(share=1.0, status=404, flag="NR"),)
        self.steps.append(Step("route configuration", found.name))
        return self._route(found, tunnelled=tunnelled)

    def _route(self, configuration: RouteConfiguration, *, tunnelled: bool) -> tuple[Result, ...]:
        host = virtual_host(configuration, self._authority(tunnelled=tunnelled))
        if host is None:
            return (Answered(share=1.0, status=404, flag="NR"),)
        self.steps.append(Step("virtual host", host.name))
        request = self._request()
        for route in host.routes:
            if isinstance(route.action, Tunnel) == tunnelled and (tunnelled or matches(route.match, request)):
                self.steps.append(Step("route", route.name, route.origin))
                return self._act(route)
        return (Answered(share=1.0, status=404, flag="NR"),)

    def _authority(self, *, tunnelled: bool) -> str:
        call = self.call
        if tunnelled:
            return f"{call.host}:{call.port}"
        return call.authority or (call.host if call.port == 80 else f"{call.host}:{call.port}")

    def _request(self) -> Request:
        call = self.call
        authority = self._authority(tunnelled=False)
        return Request(method=call.method, path=call.path, authority=authority, headers=call.headers)

    def _act(self, route: Route) -> tuple[Result, ...]:
        match route.action:
            case Tunnel(upstream):
                return self._reach(WeightedUpstream(upstream), 1.0, None)
            case ForwardTo():
                results = self._spread(route.action.upstreams, route=route)
            case Redirect():
                results = (self._redirect(route, route.action),)
            case Respond(status, body):
                results = (Answered(share=1.0, status=status, body=body),)
            case _:
                assert_never(route.action)
        return self._faulted(route.fault, results)

    def _faulted(self, fault: Fault | None, results: tuple[Result, ...]) -> tuple[Result, ...]:
        if fault is None:
            return results
        self.delay = fault.delay
        if fault.abort is None:
            return results
        aborted = fault.abort.per_million / 1_000_000
        rest = tuple(_scaled(result, 1 - aborted) for result in results) if aborted < 1 else ()
        return (Answered(share=aborted, status=_http_status(fault.abort), flag="FI"), *rest)

    def _spread(self, upstreams: tuple[WeightedUpstream, ...], *, route: Route | None) -> tuple[Result, ...]:
        total = sum(each.weight for each in upstreams)
        shares = ((each, each.weight / total) for each in upstreams if each.weight)
        return tuple(result for each, share in shares for result in self._reach(each, share, route))

    def _reach(self, target: WeightedUpstream, share: float, route: Route | None) -> tuple[Result, ...]:
        upstream = self.view.upstreams().get(target.upstream)
        self.steps.append(Step("upstream", target.upstream))
        if upstream is None:
            return (Answered(share=share, status=503, flag="NC"),)
        match upstream.endpoints:
            case Internal(name):
                listener = next(each for each in self.view.listeners() if each.name == name and _is_internal(each))
                return self.connect(listener)
            case Discovered():
                return (self._discovered(upstream, (target, share), route),)
            case Static(address, port):
                return (self._arrived(upstream, (Endpoint(address, port),), (target, share), route),)
            case AnyHost():
                return (self._arrived(upstream, (), (target, share), route),)
            case Nowhere():
                return (Answered(share=share, status=503, flag="UH"),)
            case _:
                assert_never(upstream.endpoints)

    def _discovered(self, upstream: Upstream, taken: tuple[WeightedUpstream, float], route: Route | None) -> Result:
        assignment = self.view.endpoints().get(upstream.name)
        localities = assignment.localities if assignment is not None else ()
        endpoints = tuple(each for locality in localities for each in locality.endpoints)
        if not endpoints and self.call.protocol == "tcp":
            return Refused(share=taken[1], reason=f"{upstream.name} has no endpoints")
        if not endpoints:
            return Answered(share=taken[1], status=503, flag="UH")
        return self._arrived(upstream, endpoints, taken, route)

    def _arrived(
        self,
        upstream: Upstream,
        endpoints: tuple[Endpoint, ...],
        taken: tuple[WeightedUpstream, float],
        route: Route | None,
    ) -> Arrived:
        target, share = taken
        headers = tuple(h for h in (target.headers, route.headers if route else Headers()) if h)
        authority = self._authority(tunnelled=False)
        rewrite = route.action.rewrite if route is not None and isinstance(route.action, ForwardTo) else None
        return Arrived(
            share=share,
            upstream=upstream.name,
            endpoints=endpoints,
            path=_rewritten(self.call.path, route) if route is not None else self.call.path,
            authority=rewrite.authority if rewrite is not None and rewrite.authority else authority,
            headers=headers,
        )

    def _redirect(self, route: Route, to: Redirect) -> Answered:
        host, _, port = self._authority(tunnelled=False).partition(":")
        authority = to.authority or host
        number = str(to.port) if to.port else ("" if to.authority else port)
        path = to.path or (_prefix_replaced(self.call.path, route, to.prefix) if to.prefix else self.call.path)
        scheme = to.scheme or "http"
        location = f"{scheme}://{authority}{':' + number if number else ''}{path}"
        return Answered(share=1.0, status=to.code, location=location)


def _is_internal(listener: Listener) -> bool:
    return isinstance(listener.bind, InProcess)


def _http_status(abort: Abort) -> int:
    return abort.status if abort.kind == "http" else 200


def _scaled(result: Result, factor: float) -> Result:
    return msgspec.structs.replace(result, share=result.share * factor)


def _rewritten(path: str, route: Route) -> str:
    rewrite = route.action.rewrite.path if isinstance(route.action, ForwardTo) else None
    match rewrite:
        case None:
            return path
        case RegexRewrite(pattern, substitution):
            plain, mark, query = path.partition("?")
            return str(re2.sub(pattern, substitution, plain)) + mark + query
        case UriRewrite(value):
            return _prefix_replaced(path, route, value)
        case _:
            assert_never(rewrite)


def _prefix_replaced(path: str, route: Route, value: str) -> str:
    """A prefix match replaces the prefix, textually; any other match the whole path. The query stays."""
    plain, mark, query = path.partition("?")
    matched = route.match.path
    if matched is None:
        return value + plain.removeprefix("/") + mark + query
    if isinstance(matched, Prefix):
        return value + plain[len(matched.value) :] + mark + query
    return value + mark + query
