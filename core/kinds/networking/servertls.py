"""TLS settings of a Gateway's server (`ServerTLSSettings`): their spec, rules and lowering.

What is missing here and would change who gets in is an error, as everywhere: PASSTHROUGH, hashes of certificates.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from core.diagnostics import Severity
from core.ir.gateway import InFiles, Stored, Terminated
from core.kinds import names
from core.kinds.findings import UNSUPPORTED, Context
from core.kinds.kind import Spec
from core.kinds.spelling import closest
from core.model.config import Origin

Mode = Literal["PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"]
Version = Literal["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]

_SUPPORTED = ("SIMPLE", "MUTUAL")
_AUTO, _LEAST = "TLS_AUTO", "TLSV1_2"
_AES = ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA", "AES256-SHA")
_CIPHERS = frozenset(
    (*_AES, *(f"ECDHE-{key}-{cipher}" for key in ("ECDSA", "RSA") for cipher in (*_AES, "CHACHA20-POLY1305")))
)
"""What Envoy's TLS library knows below TLS 1.3 (there, ciphers cannot be chosen)."""


class ServerTlsSpec(Spec, frozen=True):
    https_redirect: bool = False
    mode: Mode = "PASSTHROUGH"
    server_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    credential_name: str = ""
    min_protocol_version: Version = "TLS_AUTO"
    max_protocol_version: Version = "TLS_AUTO"
    cipher_suites: tuple[str, ...] = ()

    later: ClassVar[Mapping[str, Severity]] = {
        "subjectAltNames": Severity.ERROR,
        "verifyCertificateSpki": Severity.ERROR,
        "verifyCertificateHash": Severity.ERROR,
        "caCrl": Severity.ERROR,
        "caCertCredentialName": Severity.ERROR,
        "credentialNames": Severity.ERROR,
        "tlsCertificates": Severity.ERROR,
    }


def lower(context: Context, spec: ServerTlsSpec | None, at: Origin) -> Terminated | None:
    """None when something is wrong, which was reported then."""
    if spec is None:
        context.error(at, "a server of protocol HTTPS needs tls", fix="add tls: {mode: SIMPLE, credentialName: …}")
        return None
    if spec.mode not in _SUPPORTED:
        _unsupported(context, spec, at)
        return None
    if spec.https_redirect:
        context.warn(at.at("httpsRedirect"), "httpsRedirect has an effect on plain HTTP only", fix="take it out")
    certificate = _certificate(context, spec, at)
    _versions(context, spec, at)
    return Terminated(
        certificate=certificate,
        mutual=spec.mode == "MUTUAL",
        min_version=_version(spec.min_protocol_version),
        max_version=_version(spec.max_protocol_version),
        ciphers=_ciphers(context, spec.cipher_suites, at.at("cipherSuites")),
    )


def _unsupported(context: Context, spec: ServerTlsSpec, at: Origin) -> None:
    said = ", which is the default," if spec.mode == "PASSTHROUGH" else ""
    message = f"mode {spec.mode}{said} is not supported yet on a server of protocol HTTPS"
    context.error(at.at("mode"), message, fix="write SIMPLE or MUTUAL, with a certificate", code=UNSUPPORTED)


def _certificate(context: Context, spec: ServerTlsSpec, at: Origin) -> Stored | InFiles:
    if spec.credential_name:
        return _stored(context, spec, at)
    if not (spec.server_certificate and spec.private_key):
        missing = "privateKey" if spec.server_certificate else "serverCertificate" if spec.private_key else ""
        wanted = f"{missing} is missing" if missing else "a certificate is required: credentialName, or two files"
        fix = "name a secret by credentialName, or give serverCertificate and privateKey"
        context.error(at.at(missing or "credentialName"), wanted, fix=fix)
    elif spec.mode == "MUTUAL" and not spec.ca_certificates:
        message = "mode MUTUAL needs the roots by which callers are known"
        context.error(at.at("caCertificates"), message, fix="give the file by caCertificates")
    return InFiles(certificate=spec.server_certificate, key=spec.private_key, roots=spec.ca_certificates)


def _stored(context: Context, spec: ServerTlsSpec, at: Origin) -> Stored:
    name = spec.credential_name
    if "/" in name:
        message = f"credentialName {name[:80]!r}: secrets of other namespaces are not supported"
        fix = "write the name alone; the secret is looked for in the namespace of the gateway's workload"
        context.error(at.at("credentialName"), message, fix=fix, code=UNSUPPORTED)
    elif not names.is_dns_name(name):
        context.error(
            at.at("credentialName"), f"{name[:80]!r} is not the name of a secret", fix="for example shop-cert"
        )
    for field in ("serverCertificate", "privateKey", "caCertificates"):
        if getattr(spec, _snake(field)):
            context.error(at.at(field), f"{field} and credentialName exclude each other", fix="keep one of them")
    return Stored(name)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _version(name: Version) -> str:
    return "" if name == _AUTO else name


def _versions(context: Context, spec: ServerTlsSpec, at: Origin) -> None:
    low, high = _version(spec.min_protocol_version), _version(spec.max_protocol_version)
    if low and high and low > high:
        message = f"minProtocolVersion {spec.min_protocol_version} is above {spec.max_protocol_version}"
        context.error(at.at("minProtocolVersion"), message, fix="swap them: nobody could connect")
    if high and high < _LEAST and not low:
        message = f"maxProtocolVersion {spec.max_protocol_version} is below the least version, which is TLSV1_2"
        context.error(at.at("maxProtocolVersion"), message, fix="give minProtocolVersion as well, or take it out")
    if low and low < _LEAST:
        message = f"minProtocolVersion {spec.min_protocol_version} is broken by design (RFC 8996)"
        context.warn(at.at("minProtocolVersion"), message, fix="write TLSV1_2")


def _ciphers(context: Context, names_: tuple[str, ...], at: Origin) -> tuple[str, ...]:
    """Unknown and repeated ones are left out, as Istio does: Envoy would refuse the whole listener."""
    found: dict[str, None] = {}
    for i, name in enumerate(names_):
        if name not in _CIPHERS:
            meant = closest(name, sorted(_CIPHERS), likeness=0.6)
            context.warn(at.at(i), f"the cipher {name[:80]!r} is not known and is left out",
                         fix=f"did you mean {meant}?" if meant else "take it out")  # fmt: skip
        elif name in found:
            context.warn(at.at(i), f"the cipher {name} is given twice", fix="keep one of them")
        found |= {name: None} if name in _CIPHERS else {}
    if names_ and not found:
        context.error(at, "none of the ciphers is known", fix="take cipherSuites out for Envoy's choice")
    return tuple(found)
