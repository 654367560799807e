"""Secrets: certificates with their keys, and roots. What is inline is for the proxy that asked, and nobody else."""

from typing import TypeAlias, assert_never

from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2

from core.envoy.any import packed
from core.view.secret import Certificate, InFile, Inline, Pem, Roots, Shown

_Source: TypeAlias = base_pb2.DataSource
_Secret: TypeAlias = secret_pb2.Secret


def encode(shown: Shown) -> bytes:
    """An `Any` of `envoy.extensions.transport_sockets.tls.v3.Secret`."""
    match shown:
        case Certificate(name, chain, key):
            own = common_pb2.TlsCertificate(certificate_chain=_source(chain), private_key=_source(key))
            return packed(_Secret(name=name, tls_certificate=own))
        case Roots(name, certificates):
            trusted = common_pb2.CertificateValidationContext(trusted_ca=_source(certificates))
            return packed(_Secret(name=name, validation_context=trusted))
        case _:
            assert_never(shown)


def _source(pem: Pem) -> _Source:
    match pem:
        case Inline(content):
            return _Source(inline_bytes=content.value)
        case InFile(path):
            return _Source(filename=path)
        case _:
            assert_never(pem)
