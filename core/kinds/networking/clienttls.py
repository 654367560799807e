"""How a DestinationRule has its service called: `trafficPolicy.tls`, at every level.

Source of the rules: Istio `ClientTLSSettings`, and what Istio's own validation refuses.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from core.diagnostics import Severity
from core.errors import Misconfigured
from core.ir.security import ClientTls, MeshTls, PlainBytes, ServerTls
from core.kinds import names
from core.kinds.findings import Context
from core.kinds.kind import Spec
from core.model.config import Origin
from core.model.identity import SpiffeId


class ClientTlsSpec(Spec, frozen=True):
    mode: Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"] = "DISABLE"
    client_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    subject_alt_names: tuple[str, ...] = ()
    sni: str = ""
    insecure_skip_verify: bool | None = None

    # Without these a server would be trusted, or called, on other terms than somebody wanted.
    later: ClassVar[Mapping[str, Severity]] = {"credentialName": Severity.ERROR, "caCrl": Severity.ERROR}


def lower(context: Context, spec: ClientTlsSpec, at: Origin) -> ClientTls:
    if spec.sni and not names.is_host(spec.sni):
        context.error(at.at("sni"), f"{spec.sni[:80]!r} is not a host name", fix="for example api.example.com")
    match spec.mode:
        case "DISABLE":
            _check_unused(context, spec, at, ("sni", "subjectAltNames", *_FILES, "insecureSkipVerify"))
            return PlainBytes()
        case "ISTIO_MUTUAL":
            _check_unused(context, spec, at, (*_FILES, "insecureSkipVerify"))
            return MeshTls(sni=spec.sni, identities=_identities(context, spec.subject_alt_names, at))
        case "SIMPLE":
            _check_unused(context, spec, at, ("clientCertificate", "privateKey"))
        case "MUTUAL":
            _check_own(context, spec, at)
    return _server_tls(context, spec, at)


_FILES = ("clientCertificate", "privateKey", "caCertificates")


def _check_unused(context: Context, spec: ClientTlsSpec, at: Origin, fields: tuple[str, ...]) -> None:
    given: dict[str, object] = {
        "sni": spec.sni,
        "subjectAltNames": spec.subject_alt_names,
        "clientCertificate": spec.client_certificate,
        "privateKey": spec.private_key,
        "caCertificates": spec.ca_certificates,
        "insecureSkipVerify": spec.insecure_skip_verify,
    }
    for field in fields:
        if given[field]:
            context.error(at.at(field), f"{field} has no meaning with mode {spec.mode}", fix="take it out")


def _check_own(context: Context, spec: ClientTlsSpec, at: Origin) -> None:
    for field, path in (("clientCertificate", spec.client_certificate), ("privateKey", spec.private_key)):
        if not path:
            context.error(at.at(field), f"mode MUTUAL needs {field}", fix="name a file on the caller's host")


def _identities(context: Context, texts: tuple[str, ...], at: Origin) -> tuple[SpiffeId, ...]:
    found = []
    for i, text in enumerate(texts):
        try:
            found.append(SpiffeId.parse(text))
        except Misconfigured as error:
            context.error(at.at("subjectAltNames").at(i), str(error), fix=error.fix)
    return tuple(sorted(set(found)))


def _server_tls(context: Context, spec: ClientTlsSpec, at: Origin) -> ServerTls:
    trusting = spec.insecure_skip_verify is True
    for field, value in (("caCertificates", spec.ca_certificates), ("subjectAltNames", spec.subject_alt_names)):
        if trusting and value:
            message = f"with insecureSkipVerify nothing is compared with {field}"
            context.error(at.at(field), message, fix="keep one of them")
    return ServerTls(
        sni=spec.sni,
        names=spec.subject_alt_names,
        roots=_path(context, spec.ca_certificates, at.at("caCertificates")),
        certificate=_path(context, spec.client_certificate, at.at("clientCertificate")),
        key=_path(context, spec.private_key, at.at("privateKey")),
        verify=not trusting,
    )


def _path(context: Context, text: str, at: Origin) -> str:
    if text and not text.startswith("/"):
        context.error(at, f"{text[:80]!r} is not an absolute path", fix="for example /etc/ssl/certs/my-roots.pem")
    return text
