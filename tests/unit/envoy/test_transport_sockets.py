"""How connections are secured, read back with protobuf."""

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.network.set_filter_state.v3 import set_filter_state_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.json_format import MessageToDict

from core.envoy import clusters, endpoints, listeners
from core.envoy.testing import catalogue
from core.envoy.transport_sockets import NOBODY
from core.model.identity import SpiffeId
from core.model.service import Locality
from core.view.listener import (
    PLAIN_HTTP,
    Captured,
    ChainMatch,
    FilterChain,
    HttpChain,
    Listener,
    NamedRoutes,
    Socket,
    TcpChain,
)
from core.view.route import WeightedUpstream
from core.view.security import (
    MESH_TCP,
    NO_TLS,
    Automatic,
    ClientSecurity,
    MeshClient,
    MeshServer,
    Originate,
    ServerSecurity,
    Terminate,
)
from core.view.upstream import Discovered, Endpoint, HttpVersion, LoadAssignment, LocalityEndpoints, Upstream

A, B = catalogue.IDENTITIES
TCP = TcpChain(stat_prefix="x", upstreams=(WeightedUpstream("x"),))
HTTP = HttpChain(stat_prefix="x", routes=NamedRoutes("x"))


def cluster(security: ClientSecurity, http: HttpVersion = "http1") -> cluster_pb2.Cluster:
    upstream = Upstream(name="x", endpoints=Discovered(), http=http, security=security)
    return cluster_pb2.Cluster.FromString(Any.FromString(clusters.encode(upstream)).value)


def upstream_tls(security: ClientSecurity) -> tls_pb2.UpstreamTlsContext:
    found = tls_pb2.UpstreamTlsContext()
    assert cluster(security).transport_socket.typed_config.Unpack(found)
    return found


def listener(*chains: FilterChain, **more: object) -> listener_pb2.Listener:
    fields = {"name": "x", "bind": Socket("127.0.0.1", 15006), "direction": "inbound", "chains": chains} | more
    return listener_pb2.Listener.FromString(Any.FromString(listeners.encode(Listener(**fields))).value)  # type: ignore[arg-type]


def downstream_tls(security: ServerSecurity) -> tls_pb2.DownstreamTlsContext:
    found = tls_pb2.DownstreamTlsContext()
    (chain,) = listener(FilterChain(security=security, serve=TCP)).filter_chains
    assert chain.transport_socket.typed_config.Unpack(found)
    return found


def trusted(context: tls_pb2.UpstreamTlsContext) -> list[str]:
    validation = context.common_tls_context.combined_validation_context.default_validation_context
    return [each.matcher.exact for each in validation.match_typed_subject_alt_names]


def test_a_client_of_the_mesh_shows_the_workloads_certificate_and_expects_certain_others() -> None:
    """Both come from files whose names are the same in every proxy, so that clusters are."""
    found = upstream_tls(MeshClient(sni="s", identities=(A, B)))
    common = found.common_tls_context
    assert (found.sni, list(common.alpn_protocols)) == ("s", list(MESH_TCP))
    assert trusted(found) == [str(A), str(B)]
    own = common.tls_certificate_sds_secret_configs[0]
    assert (own.name, own.sds_config.path_config_source.path) == ("default", "certs/default.json")
    roots = common.combined_validation_context.validation_context_sds_secret_config
    assert (roots.name, roots.sds_config.path_config_source.path) == ("ROOTCA", "certs/ROOTCA.json")


def test_tls_is_1_3_wherever_both_sides_can() -> None:
    """Without a word, an Envoy that calls would stop at 1.2."""
    parameters = upstream_tls(MeshClient(sni="s", identities=())).common_tls_context.tls_params
    assert MessageToDict(parameters) == {
        "tlsMinimumProtocolVersion": "TLSv1_2",
        "tlsMaximumProtocolVersion": "TLSv1_3",
    }


def test_without_identities_nobody_is_trusted() -> None:
    """An empty list would trust the whole mesh (Envoy)."""
    assert trusted(upstream_tls(MeshClient(sni="s", identities=()))) == [NOBODY]
    assert not NOBODY.startswith("spiffe://")


def test_automatic_mutual_tls_is_chosen_by_endpoint() -> None:
    """Those that say so get TLS, the others plain bytes."""
    mutual, plain = cluster(Automatic(mesh=MeshClient(sni="s", identities=(A,)))).transport_socket_matches
    assert (dict(mutual.match), mutual.transport_socket.name) == ({"tlsMode": "istio"}, "envoy.transport_sockets.tls")
    assert (dict(plain.match), plain.transport_socket.name) == ({}, "envoy.transport_sockets.raw_buffer")


@pytest.mark.parametrize(("mutual", "said"), [(True, {"tlsMode": "istio"}), (False, {})])
def test_an_endpoint_says_whether_it_has_mutual_tls(mutual: bool, said: dict[str, str]) -> None:
    assignment = LoadAssignment("x", (LocalityEndpoints(Locality(), (Endpoint("::1", 80, mutual=mutual),)),))
    (endpoint,) = endpoints.message(assignment).endpoints[0].lb_endpoints
    assert dict(endpoint.metadata.filter_metadata["envoy.transport_socket_match"]) == said


def test_tls_to_others_is_named_by_the_request_unless_a_name_is_given() -> None:
    """Then the certificate has to be for that name."""
    (options,) = cluster(Originate()).typed_extension_protocol_options.values()
    assert b"\x08\x01" in options.value
    given = upstream_tls(Originate(sni="api.example.com", roots="/roots.pem"))
    validation = given.common_tls_context.validation_context
    assert (given.sni, validation.trusted_ca.filename) == ("api.example.com", "/roots.pem")
    assert {each.matcher.exact for each in validation.match_typed_subject_alt_names} == {"api.example.com"}


def test_tls_without_verification_verifies_nothing() -> None:
    found = upstream_tls(Originate(sni="a.com", verify=False))
    assert not found.common_tls_context.HasField("validation_context")


def test_a_server_of_the_mesh_wants_a_certificate() -> None:
    found = downstream_tls(MeshServer(protocols=("h2", "http/1.1")))
    assert found.require_client_certificate.value
    wanted = found.common_tls_context.combined_validation_context
    assert wanted.validation_context_sds_secret_config.name == "ROOTCA"
    (name,) = wanted.default_validation_context.match_typed_subject_alt_names
    assert name.matcher.prefix == "spiffe://cluster.local/", "the slash ends the trust domain"
    assert list(found.common_tls_context.alpn_protocols) == ["h2", "http/1.1"]


def test_a_gateways_certificate_comes_from_the_manager() -> None:
    """Under the secret's name, on the stream that is there; callers need one only where there are roots for it."""
    found = downstream_tls(Terminate(secret="s"))
    secret = found.common_tls_context.tls_certificate_sds_secret_configs[0]
    assert (secret.name, secret.sds_config.HasField("ads")) == ("s", True)
    assert not found.require_client_certificate.value
    assert downstream_tls(Terminate(secret="s", roots="r")).require_client_certificate.value


@pytest.mark.parametrize(
    ("security", "resumed"),
    [(MeshServer(trust_domain="td"), False), (Terminate(secret="s", roots="r"), False), (Terminate(secret="s"), True)],
)
def test_whoever_has_to_show_a_certificate_does_so_on_every_connection(security: ServerSecurity, resumed: bool) -> None:
    """Neither tickets nor sessions in memory: he would be in for hours after his certificate was over."""
    found = downstream_tls(security)
    assert (found.disable_stateless_session_resumption, found.disable_stateful_session_resumption) == (not resumed,) * 2


@pytest.mark.parametrize("text", ["TLSV1_3", "1.3"])
def test_tls_versions_are_written_in_two_ways(text: str) -> None:
    found = downstream_tls(Terminate(secret="s", min_version=text)).common_tls_context.tls_params
    assert MessageToDict(found)["tlsMinimumProtocolVersion"] == "TLSv1_3"


# -- what is looked at -------------------------------------------------------------------------------------------------


def inspectors(*matches: ChainMatch) -> list[str]:
    found = listener(*(FilterChain(match=match, serve=TCP) for match in matches)).listener_filters
    return [each.name.rpartition(".")[2] for each in found]


@pytest.mark.parametrize(
    ("match", "looking"),
    [
        (ChainMatch(), []),
        (ChainMatch(port=80), []),
        (ChainMatch(transport="plain"), ["tls_inspector"]),
        (ChainMatch(transport="tls", protocols=MESH_TCP), ["tls_inspector"]),
        (ChainMatch(server_names=("a.com",)), ["tls_inspector"]),
        (ChainMatch(protocols=PLAIN_HTTP), ["http_inspector"]),
        (ChainMatch(transport="plain", protocols=PLAIN_HTTP), ["tls_inspector", "http_inspector"]),
    ],
)
def test_first_bytes_are_looked_at_where_some_chain_depends_on_them(match: ChainMatch, looking: list[str]) -> None:
    assert inspectors(match) == looking


def test_ports_that_depend_on_nothing_do_not_wait_for_bytes() -> None:
    """There the server may be the one who speaks first."""
    looks, idle, rest = ChainMatch(port=80, transport="tls"), ChainMatch(port=9000), ChainMatch(transport="tls")
    alone = listener(FilterChain(match=looks, serve=TCP), FilterChain(match=idle, serve=TCP))
    assert MessageToDict(alone.listener_filters[0].filter_disabled) == {
        "notMatch": {"destinationPortRange": {"start": 80, "end": 81}}
    }
    others = listener(FilterChain(match=rest, serve=TCP), FilterChain(match=idle, serve=TCP))
    assert MessageToDict(others.listener_filters[0].filter_disabled) == {
        "destinationPortRange": {"start": 9000, "end": 9001}
    }


def test_redirected_connections_know_where_they_were_going() -> None:
    """Only those that go out are handed over: else a listener for calls from here would take one that comes in."""
    chain = FilterChain(serve=TCP)
    outbound = listener(chain, direction="outbound", original=True)
    inbound = listener(chain, original=True)
    assert [each.name for each in inbound.listener_filters] == ["envoy.filters.listener.original_dst"]
    assert (outbound.use_original_dst.value, inbound.use_original_dst.value) == (True, False)


def test_a_listener_that_takes_over_has_no_socket() -> None:
    found = listener(FilterChain(serve=HTTP), bind=Captured("0.0.0.0", 80), direction="outbound")
    assert found.HasField("bind_to_port")
    assert not found.bind_to_port.value
    assert found.address.socket_address.port_value == 80


def test_tproxy_keeps_the_callers_address() -> None:
    found = listener(FilterChain(serve=TCP), original=True, transparent=True, mark=1337)
    assert found.transparent.value
    assert [each.name.rpartition(".")[2] for each in found.listener_filters] == ["original_dst", "original_src"]


def test_bytes_beside_http_offer_other_protocols_than_the_cluster() -> None:
    """One filter before the TCP proxy says so, for the next hop only."""
    chain = TcpChain(stat_prefix="x", upstreams=(WeightedUpstream("x"),), protocols=MESH_TCP)
    (found,) = listener(FilterChain(serve=chain)).filter_chains
    state = set_filter_state_pb2.Config()
    first: listener_components_pb2.Filter = found.filters[0]
    assert first.typed_config.Unpack(state)
    (value,) = state.on_new_connection
    assert value.object_key == "envoy.network.application_protocols"
    assert value.format_string.text_format_source.inline_string == "istio-peer-exchange,istio"
    assert value.shared_with_upstream == value.ONCE


def test_without_tls_nothing_is_said() -> None:
    found = cluster(NO_TLS)
    assert not found.HasField("transport_socket")
    assert not found.transport_socket_matches


def test_identities_are_written_whole() -> None:
    """Also of trust domains that are not the usual one."""
    other = SpiffeId.of("other.example", namespace="n", service_account="s")
    assert trusted(upstream_tls(MeshClient(sni="s", identities=(other,)))) == ["spiffe://other.example/ns/n/sa/s"]
