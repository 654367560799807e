"""MeshConfig: the settings of the whole mesh as a document, one per mesh, reloadable. Fields named as in Istio's."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import msgspec

from core.diagnostics import Diagnostic, Severity
from core.ir.lowered import Lowered
from core.ir.values import Inherit
from core.kinds import log_format, names, scalars
from core.kinds.findings import UNSUPPORTED, Context
from core.kinds.kind import Kind, Spec
from core.kinds.networking.locality import LocalitySpec
from core.kinds.networking.locality import lower as lower_locality
from core.kinds.schema import read
from core.model.config import ConfigKey, Document, Origin
from core.model.mesh import AccessLog, Mesh, OutboundMode

GROUP = "mesh.istio.io"
DEFAULTS = Mesh()
KEY = ConfigKey(GROUP, "MeshConfig", DEFAULTS.root_namespace, "default")
"""The one document of this kind."""


class OutboundTrafficPolicySpec(Spec, frozen=True):
    mode: Literal["ALLOW_ANY", "REGISTRY_ONLY"] = "ALLOW_ANY"


class PathNormalizationSpec(Spec, frozen=True):
    normalization: Literal["DEFAULT", "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"] = "DEFAULT"


class MeshConfigSpec(Spec, frozen=True):
    """`domainSuffix` is ours: Istio has it as a flag of its control plane."""

    root_namespace: str = DEFAULTS.root_namespace
    domain_suffix: str = DEFAULTS.domain_suffix
    trust_domain: str = DEFAULTS.trust_domain
    outbound_traffic_policy: OutboundTrafficPolicySpec | None = None
    connect_timeout: str | None = None
    access_log_file: str = ""
    access_log_encoding: Literal["TEXT", "JSON"] = "TEXT"
    access_log_format: str = ""
    enable_auto_mtls: bool = True
    locality_lb_setting: LocalitySpec | None = None
    path_normalization: PathNormalizationSpec | None = None

    later: ClassVar[Mapping[str, Severity]] = dict.fromkeys(
        (
            "ca", "caCertificates", "certificates", "configSources",
            "defaultConfig", "defaultDestinationRuleExportTo", "defaultHttpRetryPolicy",
            "defaultInboundHttpRetryPolicy", "defaultProviders", "defaultServiceExportTo", "defaultTrafficPolicy",
            "defaultVirtualServiceExportTo", "discoverySelectors", "dnsRefreshRate",
            "enablePrometheusMerge", "enableTracing", "extensionProviders", "h2UpgradePolicy", "hboneIdleTimeout",
            "inboundClusterStatName", "inboundTrafficPolicy", "ingressClass", "ingressControllerMode",
            "ingressSelector", "ingressService", "meshMTLS", "outboundClusterStatName",
            "protocolDetectionTimeout", "proxyHttpPort", "proxyInboundListenPort",
            "proxyListenPort", "serviceScopeConfigs", "serviceSettings", "tcpKeepalive", "tlsDefaults",
            "trustDomainAliases", "verifyCertificateAtClient",
        ),
        Severity.WARNING,
    )  # fmt: skip


class LoweredMesh(msgspec.Struct, frozen=True):
    """`mesh` is None when the document has an error: the settings in force stay."""

    mesh: Mesh | None
    diagnostics: tuple[Diagnostic, ...] = ()


def lower_mesh(document: Document) -> LoweredMesh:
    """The settings that `document` gives, defaults filled in."""
    context = Context(document, DEFAULTS)
    _check_place(context)
    spec = read(context, MeshConfigSpec)
    mesh = _mesh(context, spec) if spec else None
    return LoweredMesh(None if context.findings.failed else mesh, context.findings.all())


def lower(document: Document, mesh: Mesh) -> Lowered:
    """No rules: the settings reach the compiler as its `Mesh`. Here for the findings."""
    return Lowered((), lower_mesh(document).diagnostics)


def _check_place(context: Context) -> None:
    key, metadata = context.document.key, Origin(context.document.key, "metadata")
    if key.name != KEY.name:
        fix = f"name it {KEY.name!r}"
        context.error(metadata.at("name"), f"there is one MeshConfig, named {KEY.name!r}, not {key.name!r}", fix=fix)
    if key.namespace != KEY.namespace:
        message = f"MeshConfig lives in the namespace {KEY.namespace}, not in {key.namespace}"
        context.error(metadata.at("namespace"), message, fix=f"write namespace: {KEY.namespace}, or take it out")


def _mesh(context: Context, spec: MeshConfigSpec) -> Mesh:
    at = context.root
    if spec.root_namespace != KEY.namespace:
        message = f"the root namespace is {KEY.namespace}; another one is not supported yet"
        context.error(at.at("rootNamespace"), message, fix="take it out")
    for field, text in (("domainSuffix", spec.domain_suffix), ("trustDomain", spec.trust_domain)):
        if not names.is_dns_name(text):
            context.error(at.at(field), f"{field} {text[:80]!r} is not a DNS name", fix="for example cluster.local")
    _check_paths(context, spec.path_normalization or PathNormalizationSpec())
    outbound = spec.outbound_traffic_policy or OutboundTrafficPolicySpec()
    timeout = spec.connect_timeout
    locality = lower_locality(context, spec.locality_lb_setting, at.at("localityLbSetting"))
    return Mesh(
        root_namespace=spec.root_namespace,
        domain_suffix=spec.domain_suffix,
        trust_domain=spec.trust_domain,
        outbound=OutboundMode(outbound.mode),
        connect_timeout=DEFAULTS.connect_timeout
        if timeout is None
        else scalars.duration(context, timeout, at.at("connectTimeout")),
        access_log=_access_log(context, spec),
        auto_mtls=spec.enable_auto_mtls,
        locality=DEFAULTS.locality if isinstance(locality, Inherit) else locality,
    )


def _check_paths(context: Context, spec: PathNormalizationSpec) -> None:
    """An error: with other paths than these, policies would let in other callers."""
    if spec.normalization not in ("DEFAULT", "BASE"):
        at = context.root.at("pathNormalization").at("normalization")
        message = f"pathNormalization {spec.normalization} is not supported yet: paths are normalised as by BASE"
        context.error(at, message, fix="take it out, and allow certain paths rather than deny some", code=UNSUPPORTED)


def _access_log(context: Context, spec: MeshConfigSpec) -> AccessLog:
    file, at = spec.access_log_file, context.root
    if file and not file.startswith("/"):
        fix = "for example /dev/stdout"
        context.error(at.at("accessLogFile"), f"accessLogFile {file[:80]!r} is not an absolute path", fix=fix)
    message, fix = log_format.problem(spec.access_log_format, spec.access_log_encoding)
    if message:
        context.error(at.at("accessLogFormat"), f"accessLogFormat: {message}", fix=fix)
    return AccessLog(file=file, encoding=spec.access_log_encoding, format=spec.access_log_format)


KIND = Kind(
    group=GROUP,
    kind="MeshConfig",
    plural="meshconfigs",
    versions=("v1alpha1",),
    spec=MeshConfigSpec,
    lower=lower,
    namespace=KEY.namespace,
    singleton=KEY.name,
)
