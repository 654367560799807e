"""MeshConfig: one document, settings of the whole mesh."""

from collections.abc import Callable

import msgspec
import pytest

from core.kinds.meshconfig import KEY, LoweredMesh, lower_mesh
from core.model.config import ConfigKey, Document
from core.model.mesh import AccessLog, Mesh, OutboundMode

MakeDocument = Callable[[str, object], Document]


def test_an_empty_document_is_the_defaults(make_document: MakeDocument) -> None:
    """Nothing said, nothing changed."""
    assert lower_mesh(make_document("meshconfig", {})) == LoweredMesh(Mesh())


def test_every_field(make_document: MakeDocument) -> None:
    """Each field of the document reaches its setting."""
    spec = {
        "rootNamespace": "istio-system",
        "domainSuffix": "mesh.local",
        "trustDomain": "example.org",
        "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
        "connectTimeout": "1.5s",
        "accessLogFile": "/dev/stdout",
        "accessLogEncoding": "JSON",
        "accessLogFormat": '{"a": "%PROTOCOL%"}',
    }
    assert lower_mesh(make_document("meshconfig", spec)).mesh == Mesh(
        domain_suffix="mesh.local",
        trust_domain="example.org",
        outbound=OutboundMode.REGISTRY_ONLY,
        connect_timeout=1500,
        access_log=AccessLog(file="/dev/stdout", encoding="JSON", format='{"a": "%PROTOCOL%"}'),
    )


def test_an_error_leaves_the_settings_alone(make_document: MakeDocument) -> None:
    """There are no half settings."""
    lowered = lower_mesh(make_document("meshconfig", {"trustDomain": "a.b", "connectTimeout": "never"}))
    assert lowered.mesh is None
    assert [(d.code, d.origin.path) for d in lowered.diagnostics if d.origin] == [("IST0106", "spec.connectTimeout")]


@pytest.mark.parametrize(
    ("key", "path"),
    [
        (ConfigKey(KEY.group, KEY.kind, KEY.namespace, "mine"), "metadata.name"),
        (ConfigKey(KEY.group, KEY.kind, "shop", KEY.name), "metadata.namespace"),
    ],
)
def test_there_is_one(make_document: MakeDocument, key: ConfigKey, path: str) -> None:
    """Another name or namespace would be a second one, and which counts would be a guess."""
    lowered = lower_mesh(msgspec.structs.replace(make_document("meshconfig", {}), key=key))
    assert lowered.mesh is None
    assert [d.origin.path for d in lowered.diagnostics if d.origin] == [path]


def test_the_suffix_completes_hosts(make_document: MakeDocument) -> None:
    """Short names end in the mesh's domain suffix."""
    from core.ir.traffic import DestinationPolicy
    from core.kinds.registry import lower

    (rule,) = lower(make_document("dr", {"host": "a"}), Mesh(domain_suffix="mesh.local")).rules
    assert isinstance(rule, DestinationPolicy)
    assert rule.host == "a.shop.svc.mesh.local"
