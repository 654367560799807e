"""How connections are secured: Envoy's transport sockets. Certificates and roots of the mesh come from files."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TypeAlias, assert_never

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2, config_source_pb2
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from envoy.type.matcher.v3 import string_pb2
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value

from core.envoy import ads
from core.envoy.any import YES, typed
from core.model.identity import CERTIFICATE, CERTIFICATE_FILE, ROOTS, ROOTS_FILE, SYSTEM_ROOTS_FILE
from core.view.security import (
    Automatic,
    ClientSecurity,
    MeshClient,
    MeshServer,
    NoTls,
    Originate,
    ServerSecurity,
    Terminate,
)

_Common: TypeAlias = tls_pb2.CommonTlsContext
_Validation: TypeAlias = common_pb2.CertificateValidationContext
_San: TypeAlias = common_pb2.SubjectAltNameMatcher
_Combined: TypeAlias = tls_pb2.CommonTlsContext.CombinedCertificateValidationContext
_Secret: TypeAlias = secret_pb2.SdsSecretConfig
_SanType: TypeAlias = "common_pb2.SubjectAltNameMatcher.SanType"
_Parameters: TypeAlias = common_pb2.TlsParameters
_Version: TypeAlias = "common_pb2.TlsParameters.TlsProtocol"

MATCH_KEY = "envoy.transport_socket_match"
"""The key of an endpoint's metadata by which one of a cluster's sockets is chosen."""

MUTUAL = Struct(fields={"tlsMode": Value(string_value="istio")})
"""What stands there for endpoints that speak mutual TLS; Istio's word."""

NOBODY = "nobody"
"""No certificate names it: SPIFFE IDs are URIs. Without any name, Envoy would trust the whole mesh."""

# Who resumes a session shows no certificate: he would be whom he was, for hours after that one was over.
_PROVED_EACH_TIME = tls_pb2.DownstreamTlsContext(
    disable_stateless_session_resumption=True, disable_stateful_session_resumption=True
)


def _file(name: str, path: str) -> _Secret:
    source = config_source_pb2.PathConfigSource(path=path)
    version = config_source_pb2.ApiVersion.V3
    return _Secret(
        name=name,
        sds_config=config_source_pb2.ConfigSource(path_config_source=source, resource_api_version=version),
    )


_OWN = _file(CERTIFICATE, CERTIFICATE_FILE)
_ROOTS = _file(ROOTS, ROOTS_FILE)
_AT_LEAST_1_2 = _Parameters(tls_minimum_protocol_version=_Parameters.TLSv1_2)
# An Envoy that calls stops at 1.2 unless it is told otherwise.
_UP_TO_1_3 = _Parameters(
    tls_minimum_protocol_version=_Parameters.TLSv1_2, tls_maximum_protocol_version=_Parameters.TLSv1_3
)
_PLAIN = base_pb2.TransportSocket(
    name="envoy.transport_sockets.raw_buffer", typed_config=typed(raw_buffer_pb2.RawBuffer())
)


def _tls(context: Message) -> base_pb2.TransportSocket:
    return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=typed(context))


@lru_cache(maxsize=256)
def server(security: ServerSecurity) -> base_pb2.TransportSocket | None:
    """For a filter chain; None for plain bytes."""
    match security:
        case NoTls():
            return None
        case MeshServer(protocols=protocols, trust_domain=domain):
            common = _Common(
                tls_params=_AT_LEAST_1_2,
                tls_certificate_sds_secret_configs=[_OWN],
                combined_validation_context=_named([_workload_of(domain)]),
                alpn_protocols=protocols,
            )
            context = tls_pb2.DownstreamTlsContext(common_tls_context=common, require_client_certificate=YES)
            context.MergeFrom(_PROVED_EACH_TIME)
            return _tls(context)
        case Terminate():
            return _tls(_terminated(security))
        case _:
            assert_never(security)


def _terminated(security: Terminate) -> tls_pb2.DownstreamTlsContext:
    context = tls_pb2.DownstreamTlsContext(
        common_tls_context=_Common(
            tls_params=_parameters(security),
            tls_certificate_sds_secret_configs=[_Secret(name=security.secret, sds_config=ads.SOURCE)],
            alpn_protocols=security.protocols,
        )
    )
    if security.roots:
        roots = _Secret(name=security.roots, sds_config=ads.SOURCE)
        context.common_tls_context.validation_context_sds_secret_config.CopyFrom(roots)
        context.require_client_certificate.CopyFrom(YES)
        context.MergeFrom(_PROVED_EACH_TIME)
    return context


def _parameters(security: Terminate) -> _Parameters:
    parameters = _Parameters(cipher_suites=security.ciphers)
    parameters.tls_minimum_protocol_version = _version(security.min_version or "TLSV1_2")
    if security.max_version:
        parameters.tls_maximum_protocol_version = _version(security.max_version)
    return parameters


def _version(name: str) -> _Version:
    """Istio writes TLSV1_3, and TLS_AUTO for what Envoy chooses; people write 1.3."""
    number = name.removeprefix("TLSV").replace(".", "_")
    return _Parameters.TlsProtocol.Value("TLS_AUTO" if number == "TLS_AUTO" else f"TLSv{number}")


def client(security: ClientSecurity) -> cluster_pb2.Cluster:
    """The fields of a cluster that say how its endpoints are spoken to."""
    match security:
        case NoTls():
            return cluster_pb2.Cluster()
        case MeshClient(sni=sni, identities=identities, protocols=protocols):
            return cluster_pb2.Cluster(transport_socket=_mesh_client(sni, map(str, identities), protocols))
        case Automatic(mesh=mesh):
            return _automatic(_mesh_client(mesh.sni, map(str, mesh.identities), mesh.protocols))
        case Originate():
            return cluster_pb2.Cluster(transport_socket=_tls(_originated(security)))
        case _:
            assert_never(security)


def _automatic(mutual: base_pb2.TransportSocket) -> cluster_pb2.Cluster:
    match = cluster_pb2.Cluster.TransportSocketMatch
    matches = [match(name="mutual", match=MUTUAL, transport_socket=mutual), _OTHERWISE]
    return cluster_pb2.Cluster(transport_socket_matches=matches)


_OTHERWISE = cluster_pb2.Cluster.TransportSocketMatch(name="plain", match=Struct(), transport_socket=_PLAIN)


def _mesh_client(sni: str, identities: Iterable[str], protocols: Sequence[str]) -> base_pb2.TransportSocket:
    trusted = [_exactly(_San.URI, name) for name in identities] or [_exactly(_San.URI, NOBODY)]
    common = _Common(
        tls_params=_UP_TO_1_3,
        tls_certificate_sds_secret_configs=[_OWN],
        combined_validation_context=_named(trusted),
        alpn_protocols=protocols,
    )
    return _tls(tls_pb2.UpstreamTlsContext(common_tls_context=common, sni=sni))


def _named(names: Sequence[_San]) -> _Combined:
    """By the mesh's roots, and one of these."""
    return _Combined(
        default_validation_context=_Validation(match_typed_subject_alt_names=names),
        validation_context_sds_secret_config=_ROOTS,
    )


def _workload_of(trust_domain: str) -> _San:
    """As Istio; without this whoever has any certificate by one of the roots would be let in."""
    return _San(san_type=_San.URI, matcher=string_pb2.StringMatcher(prefix=f"spiffe://{trust_domain}/"))


def _exactly(kind: _SanType, name: str) -> _San:
    return _San(san_type=kind, matcher=string_pb2.StringMatcher(exact=name))


def _originated(security: Originate) -> tls_pb2.UpstreamTlsContext:
    """No ALPN is set: Envoy then offers what it is about to speak, which the server may insist on."""
    common = _Common(tls_params=_UP_TO_1_3)
    if security.certificate:
        common.tls_certificates.add(
            certificate_chain=base_pb2.DataSource(filename=security.certificate),
            private_key=base_pb2.DataSource(filename=security.key),
        )
    if security.verify:
        common.validation_context.CopyFrom(_server_names(security))
    return tls_pb2.UpstreamTlsContext(common_tls_context=common, sni=security.sni)


def _server_names(security: Originate) -> _Validation:
    names = security.names or ((security.sni,) if security.sni else ())
    return _Validation(
        trusted_ca=base_pb2.DataSource(filename=security.roots or SYSTEM_ROOTS_FILE),
        match_typed_subject_alt_names=[_exactly(kind, name) for name in names for kind in _kinds(name)],
    )


def _kinds(name: str) -> tuple[_SanType, ...]:
    """A name is a URI, or that of a host; an address counts as one."""
    return (_San.URI,) if "://" in name else (_San.DNS, _San.IP_ADDRESS)
