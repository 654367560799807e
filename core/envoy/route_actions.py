"""What a route does with its requests."""

from functools import lru_cache
from typing import assert_never

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2 as route_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.type.matcher.v3 import regex_pb2

from core.envoy import matchers, mutations
from core.envoy.any import NEVER, milliseconds, number, typed
from core.envoy.filters.fault import per_million
from core.ir.traffic import HashCookie, HashHeader, HashKey, HashQuery, HashSourceIp
from core.ir.values import Headers, Redirect, RegexRewrite, Respond, Retry, UriRewrite
from core.view.route import ForwardTo, MirrorTo, WeightedUpstream

_Action = route_pb2.RouteAction


def forward(action: ForwardTo, headers: Headers) -> route_pb2.RouteAction:
    """`headers` are the route's own: they matter here for the host, and where destinations have headers, too."""
    timeout = milliseconds(action.timeout)
    message = _Action(
        timeout=timeout,
        # As Istio: what a gRPC caller may ask for at most. Deprecated by Envoy, but where its successor
        # `max_stream_duration` is set, `timeout` counts for nobody any more (measured with 1.40).
        max_grpc_timeout=timeout if action.timeout else None,
        retry_policy=_retry(action.retry) if action.retry else None,
        hash_policy=[_hash_policy(action.hash_key)] if action.hash_key else (),
        request_mirror_policies=[_mirror(mirror) for mirror in action.mirrors],
    )
    _rewrite_path(message, action.rewrite.path)
    _lead(message, action, headers)
    return message


def changes_headers_by_destination(action: ForwardTo) -> bool:
    """Then each destination gets the changes of the route as well: Envoy would make the route's after its own."""
    return any(upstream.headers for upstream in action.upstreams)


def _lead(message: route_pb2.RouteAction, action: ForwardTo, headers: Headers) -> None:
    authority = action.rewrite.authority or mutations.authority(headers)
    if changes_headers_by_destination(action):
        message.weighted_clusters.clusters.extend(_changed(each, headers, authority) for each in action.upstreams)
        if len(action.upstreams) == 1:
            message.weighted_clusters.clusters[0].weight.value = 1
        return
    if authority:
        message.host_rewrite_literal = authority
    if len(action.upstreams) == 1:
        message.cluster = action.upstreams[0].upstream
    else:
        message.weighted_clusters.clusters.extend(_weighted(each) for each in action.upstreams)


def _weighted(upstream: WeightedUpstream) -> route_pb2.WeightedCluster.ClusterWeight:
    return route_pb2.WeightedCluster.ClusterWeight(name=upstream.upstream, weight=number(upstream.weight))


def _changed(upstream: WeightedUpstream, headers: Headers, authority: str) -> route_pb2.WeightedCluster.ClusterWeight:
    return route_pb2.WeightedCluster.ClusterWeight(
        name=upstream.upstream,
        weight=number(upstream.weight),
        host_rewrite_literal=mutations.authority(upstream.headers) or authority or None,
        **mutations.mutations(headers, upstream.headers),
    )


def _rewrite_path(message: route_pb2.RouteAction, path: UriRewrite | RegexRewrite | None) -> None:
    match path:
        case None:
            return
        case UriRewrite(value):
            # Replaces the prefix of a prefix match, and the whole path where a whole path or a regex was matched.
            message.prefix_rewrite = value
        case RegexRewrite(pattern, substitution):
            message.regex_rewrite.CopyFrom(
                regex_pb2.RegexMatchAndSubstitute(pattern=matchers.regex(pattern), substitution=substitution)
            )
        case _:
            assert_never(path)


_PREVIOUS_HOSTS = route_pb2.RetryPolicy.RetryHostPredicate(
    name="envoy.retry_host_predicates.previous_hosts",
    typed_config=typed(previous_hosts_pb2.PreviousHostsPredicate()),
)
_HOST_ATTEMPTS = 5
"""How often another endpoint is looked for before an already tried one is taken (Istio's value)."""


@lru_cache(maxsize=256)
def _retry(retry: Retry) -> route_pb2.RetryPolicy:
    by_status = ("retriable-status-codes",) if retry.status_codes else ()
    return route_pb2.RetryPolicy(
        retry_on=",".join(dict.fromkeys((*retry.conditions, *by_status))),
        num_retries=number(retry.attempts),
        per_try_timeout=milliseconds(retry.per_try_timeout) if retry.per_try_timeout else None,
        retriable_status_codes=retry.status_codes,
        retry_host_predicate=[_PREVIOUS_HOSTS] if retry.ignore_previous_hosts else (),
        host_selection_retry_max_attempts=_HOST_ATTEMPTS if retry.ignore_previous_hosts else 0,
    )


def _mirror(mirror: MirrorTo) -> route_pb2.RouteAction.RequestMirrorPolicy:
    fraction = base_pb2.RuntimeFractionalPercent(default_value=per_million(mirror.per_million))
    return _Action.RequestMirrorPolicy(cluster=mirror.upstream, runtime_fraction=fraction)


def _hash_policy(key: HashKey) -> route_pb2.RouteAction.HashPolicy:
    match key:
        case HashHeader(name):
            return _Action.HashPolicy(header=_Action.HashPolicy.Header(header_name=name))
        case HashCookie(name, path, ttl):
            lifetime = None if ttl is None else milliseconds(ttl)
            return _Action.HashPolicy(cookie=_Action.HashPolicy.Cookie(name=name, path=path, ttl=lifetime))
        case HashSourceIp():
            return _Action.HashPolicy(connection_properties=_Action.HashPolicy.ConnectionProperties(source_ip=True))
        case HashQuery(name):
            return _Action.HashPolicy(query_parameter=_Action.HashPolicy.QueryParameter(name=name))
        case _:
            assert_never(key)


_REDIRECT_CODES = {
    301: route_pb2.RedirectAction.MOVED_PERMANENTLY,
    302: route_pb2.RedirectAction.FOUND,
    303: route_pb2.RedirectAction.SEE_OTHER,
    307: route_pb2.RedirectAction.TEMPORARY_REDIRECT,
    308: route_pb2.RedirectAction.PERMANENT_REDIRECT,
}


def redirect(action: Redirect) -> route_pb2.RedirectAction:
    """Raises `KeyError` for a code that Envoy does not have; rules with one must not get here."""
    return route_pb2.RedirectAction(
        scheme_redirect=action.scheme or None,
        host_redirect=action.authority,
        port_redirect=action.port,
        path_redirect=action.path or None,
        prefix_rewrite=action.prefix or None,
        response_code=_REDIRECT_CODES[action.code],
    )


def respond(action: Respond) -> route_pb2.DirectResponseAction:
    body = base_pb2.DataSource(inline_bytes=action.body) if action.body else None
    return route_pb2.DirectResponseAction(status=action.status, body=body)


def tunnel(upstream: str) -> route_pb2.RouteAction:
    """Tunnels last as long as both sides like."""
    upgrade = _Action.UpgradeConfig(upgrade_type="CONNECT", connect_config=_Action.UpgradeConfig.ConnectConfig())
    return _Action(cluster=upstream, timeout=NEVER, upgrade_configs=[upgrade])
