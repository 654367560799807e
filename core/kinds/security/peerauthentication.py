"""PeerAuthentication (security.istio.io): spec, rules and lowering to a `PeerRule`.

Source of the rules: Istio `PeerAuthentication`, and what Istio's own validation refuses.
"""

from typing import Literal

from msgspec.structs import replace

from core.ir.lowered import Lowered
from core.ir.security import MutualTls, PeerRule
from core.ir.values import INHERIT, Inherit
from core.kinds.findings import Context
from core.kinds.kind import Kind, Spec
from core.kinds.schema import read
from core.kinds.security import selector
from core.kinds.security.selector import SelectorSpec
from core.model.config import Document, Origin
from core.model.labels import NO_LABELS, Labels
from core.model.mesh import Mesh

Mode = Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]


class MutualTlsSpec(Spec, frozen=True):
    mode: Mode = "UNSET"


class PeerAuthenticationSpec(Spec, frozen=True):
    selector: SelectorSpec | None = None
    mtls: MutualTlsSpec | None = None
    port_level_mtls: dict[str, MutualTlsSpec] | None = None


def lower(document: Document, mesh: Mesh) -> Lowered:
    context = Context(document, mesh)
    spec = read(context, PeerAuthenticationSpec)
    rule = _rule(context, spec) if spec else None
    if rule is None or context.findings.failed:
        return Lowered((), context.findings.all(), instead=(_closed(context, rule),))
    return Lowered((rule,), context.findings.all())


def _closed(context: Context, rule: PeerRule | None) -> PeerRule:
    """Nobody calls in plain bytes by a mistake in a document that a store took all the same: what cannot be read of it
    is STRICT.
    """
    at, unsure = context.root, context.findings.touch
    if rule is None:
        return PeerRule(namespace=context.namespace, mode="STRICT", origin=at)
    ports = at.at("portLevelMtls")
    elsewhere = any(each.origin and not each.origin.path.startswith(ports.path) for each in context.findings.all())
    return replace(
        rule,
        labels=NO_LABELS if unsure(at.at("selector")) else rule.labels,
        mode="STRICT" if elsewhere else rule.mode,
        ports=tuple((port, "STRICT" if unsure(ports.at(str(port))) else mode) for port, mode in rule.ports if port),
    )


def _rule(context: Context, spec: PeerAuthenticationSpec) -> PeerRule:
    at = context.root
    labels = selector.labels(context, spec.selector, at.at("selector").at("matchLabels"))
    if spec.port_level_mtls is not None:
        _check_ports(context, spec.port_level_mtls, labels, at.at("portLevelMtls"))
    entries = (spec.port_level_mtls or {}).items()
    return PeerRule(
        namespace=context.namespace,
        labels=labels,
        mode=_mode(spec.mtls),
        ports=tuple(sorted((_number(text), _mode(one)) for text, one in entries)),
        created=context.document.created,
        origin=at,
    )


def _check_ports(context: Context, ports: dict[str, MutualTlsSpec], labels: Labels, at: Origin) -> None:
    if not ports:
        context.error(at, "portLevelMtls needs at least one port", fix="for example 8080: {mode: PERMISSIVE}")
    if not labels:
        message = "portLevelMtls needs a selector: port numbers are those of certain workloads"
        context.error(at, message, fix="add selector.matchLabels")
    for text in ports:
        if not 1 <= _number(text) <= 65535:
            fix = "write the number on which the workload listens, for example 8080"
            context.error(at.at(text), f"{text[:80]!r} is not a port from 1 to 65535", fix=fix)


def _number(text: str) -> int:
    """0 for what is no number."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 5 else 0


def _mode(spec: MutualTlsSpec | None) -> MutualTls | Inherit:
    return INHERIT if spec is None or spec.mode == "UNSET" else spec.mode


KIND = Kind(
    group="security.istio.io",
    kind="PeerAuthentication",
    plural="peerauthentications",
    short_names=("pa",),
    versions=("v1", "v1beta1"),
    spec=PeerAuthenticationSpec,
    lower=lower,
)
