"""Secrets: the certificates a proxy shows, and those it trusts. Columns are those of Istio's `proxy-config secret`.

Keys are never shown. Envoy redacts them itself, but a dump may come from anywhere, so they are taken out here as well.
"""

import base64
import binascii
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from istioctl.dump.reading import Dump, Filters, Item

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

HEADERS = ("RESOURCE NAME", "TYPE", "STATUS", "VALID CERT", "SERIAL NUMBER", "NOT AFTER", "NOT BEFORE", "SPIFFE ID")

CHAIN, ROOTS, OTHER = "Cert Chain", "CA", "-"
ACTIVE, WARMING, STATIC = "ACTIVE", "WARMING", "STATIC"
NOT_KNOWN = "-"


class Source(msgspec.Struct, frozen=True):
    """`config.core.v3.DataSource`; of the file that `filename` names nothing is known here."""

    inline_bytes: str = ""
    inline_string: str = ""
    filename: str = ""

    def content(self) -> bytes:
        """PEM; empty when it is somewhere else, or broken."""
        try:
            return (
                base64.b64decode(self.inline_bytes, validate=True) if self.inline_bytes else self.inline_string.encode()
            )
        except binascii.Error:
            return b""


class _Chain(msgspec.Struct, frozen=True):
    certificate_chain: Source = Source()


class _Roots(msgspec.Struct, frozen=True):
    trusted_ca: Source = Source()


class _Secret(msgspec.Struct, frozen=True):
    name: str = ""
    tls_certificate: _Chain | None = None
    validation_context: _Roots | None = None


class _Entry(msgspec.Struct, frozen=True):
    name: str = ""
    secret: msgspec.Raw = msgspec.Raw(b"{}")


class _Secrets(msgspec.Struct, frozen=True):
    static_secrets: tuple[msgspec.Raw, ...] = ()
    dynamic_active_secrets: tuple[msgspec.Raw, ...] = ()
    dynamic_warming_secrets: tuple[msgspec.Raw, ...] = ()


def items(dump: Dump, filters: Filters) -> list[Item]:
    found = dump.part("SecretsConfigDump", _Secrets)
    states = (
        (ACTIVE, found.dynamic_active_secrets),
        (WARMING, found.dynamic_warming_secrets),
        (STATIC, found.static_secrets),
    )
    listed = (_item(dump, raw, state) for state, entries in states for raw in entries)
    return sorted((each for each in listed if filters.wants(name=each.rows[0][0])), key=lambda item: item.rows[0])


def _item(dump: Dump, raw: msgspec.Raw, state: str) -> Item:
    entry = dump.read(raw, _Entry)
    secret = dump.read(entry.secret, _Secret)
    return Item(dump.without_keys(raw), tuple(_rows(entry.name or secret.name, secret, state)))


def _rows(name: str, secret: _Secret, state: str) -> Iterator[tuple[str, ...]]:
    """Of a chain only the first certificate, which says who somebody is; of roots all of them."""
    kind, content = _content(secret)
    certificates = _parse(content)
    if not certificates:
        yield name, kind, state, *(NOT_KNOWN,) * 5
    for each in certificates if kind == ROOTS else certificates[:1]:
        yield name, kind, state, *_facts(each)


def _content(secret: _Secret) -> tuple[str, bytes]:
    if secret.tls_certificate:
        return CHAIN, secret.tls_certificate.certificate_chain.content()
    if secret.validation_context:
        return ROOTS, secret.validation_context.trusted_ca.content()
    return OTHER, b""


def _parse(content: bytes) -> "list[Certificate]":
    """Nothing when it is no PEM: that a secret is there is worth a row all the same."""
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        return []


def _facts(certificate: "Certificate") -> tuple[str, ...]:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    valid = begins <= datetime.now(UTC) < ends
    return str(valid).lower(), f"{certificate.serial_number:x}", _moment(ends), _moment(begins), _identity(certificate)


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _identity(certificate: "Certificate") -> str:
    """The URI in it, as SPIFFE wants exactly one (SPIFFE X.509-SVID, section 2)."""
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return NOT_KNOWN
    return ", ".join(names.get_values_for_type(x509.UniformResourceIdentifier)) or NOT_KNOWN
