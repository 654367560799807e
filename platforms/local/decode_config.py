"""The parts of a mesh file that are configuration: the `mesh` section and the further documents."""

import re
from collections.abc import Sequence

import msgspec

from core.model.config import ConfigKey, Document
from core.model.labels import Labels
from core.model.mesh import Mesh, OutboundMode
from platforms.local.codes import Code
from platforms.local.names import DNS_LABEL, DNS_NAME, DURATION, milliseconds
from platforms.local.reader import Reader

SOURCE = "istio.io/source"
"""The annotation that says which line of which file a document came from."""

MESH_CONFIG = ConfigKey("mesh.istio.io", "MeshConfig", Mesh().root_namespace, "default")
"""The one document that holds the mesh's settings."""

_MESH_FIELDS = (
    "outboundTrafficPolicy", "trustDomain", "rootNamespace", "domainSuffix", "connectTimeout", "accessLogFile",
    "accessLogEncoding", "accessLogFormat", "localityLbSetting",
)  # fmt: skip
_DOCUMENT_FIELDS = ("apiVersion", "kind", "metadata", "spec", "status")
_API_VERSION = re.compile(r"([a-z0-9.-]+/)?v[0-9][a-z0-9]*")
_KIND = re.compile(r"[A-Za-z][A-Za-z0-9]*")


def mesh_config(reader: Reader | None) -> Mesh:
    """Istio's field names (`istio.mesh.v1alpha1.MeshConfig`); what is absent keeps Istio's default."""
    if reader is None:
        return Mesh()
    fields = reader.fields(_MESH_FIELDS)
    given: dict[str, object] = {
        "outbound": _outbound(fields.get("outboundTrafficPolicy")),
        "trust_domain": _matching(fields.get("trustDomain"), DNS_NAME, "a DNS name", "cluster.local"),
        "domain_suffix": _matching(fields.get("domainSuffix"), DNS_NAME, "a DNS name", "cluster.local"),
        "root_namespace": _matching(fields.get("rootNamespace"), DNS_LABEL, "a DNS label", "istio-system"),
        "connect_timeout": _timeout(fields.get("connectTimeout")),
    }
    return msgspec.structs.replace(Mesh(), **{name: value for name, value in given.items() if value is not None})


def mesh_document(reader: Reader | None) -> tuple[Document, ...]:
    """The `mesh` section as a document of kind MeshConfig."""
    if reader is None:
        return ()
    return (_document(reader, MESH_CONFIG, version="v1alpha1", spec=reader),)


def raw_documents(readers: Sequence[Reader], namespace: str) -> tuple[Document, ...]:
    """Documents as they are written; two of one name are a mistake."""
    found: dict[ConfigKey, Reader] = {}
    result: list[Document] = []
    for reader in readers:
        document = _raw(reader, namespace)
        if document is None:
            continue
        if first := found.get(document.key):
            reader.fail_key(
                Code.TWICE, f"{document.key} is in line {first.key_place.line}, too", fix="rename or remove one"
            )
        found.setdefault(document.key, reader)
        result.append(document)
    return tuple(result)


def _raw(reader: Reader, namespace: str) -> Document | None:
    fields = reader.fields(_DOCUMENT_FIELDS)
    absent = [name for name in ("apiVersion", "kind", "metadata") if name not in fields]
    if absent:
        fix = "write apiVersion, kind and metadata.name as for `istioctl apply`"
        reader.fail(Code.INCOMPLETE_DOCUMENT, f"{', '.join(absent)} missing from this document", fix=fix)
        return None
    version = fields["apiVersion"].matching(_API_VERSION, "an API version", example="networking.istio.io/v1")
    kind = fields["kind"].matching(_KIND, "a kind", example="VirtualService")
    metadata = fields["metadata"].mapping()
    name = _name(fields["metadata"], metadata)
    place = metadata["namespace"].matching(DNS_LABEL, "a namespace", example="default") if "namespace" in metadata \
        else namespace  # fmt: skip
    if version is None or kind is None or name is None or place is None:
        return None
    group, _, number = version.rpartition("/")
    key = ConfigKey(group, kind, place, name)
    labels, annotations = _pairs(metadata.get("labels")), _pairs(metadata.get("annotations"))
    return _document(reader, key, version=number, spec=fields.get("spec"), metadata=(labels, annotations))


def _document(
    reader: Reader,
    key: ConfigKey,
    *,
    version: str,
    spec: Reader | None,
    metadata: tuple[dict[str, str], dict[str, str]] = ({}, {}),
) -> Document:
    labels, annotations = metadata
    source = f"{reader.place.file}:{reader.place.line}"
    return Document(
        key=key,
        version=version,
        spec=msgspec.json.encode(spec.json() if spec else {}, order="sorted"),
        labels=Labels.of(labels),
        annotations=Labels.of(annotations | {SOURCE: source}),
        source=source,
    )


def _name(reader: Reader, metadata: dict[str, Reader]) -> str | None:
    if "name" in metadata:
        return metadata["name"].matching(DNS_NAME, "a name (lower-case letters, digits, - and .)", example="reviews")
    reader.fail(Code.INCOMPLETE_DOCUMENT, "`name` is missing", fix="add metadata.name")
    return None


def _pairs(reader: Reader | None) -> dict[str, str]:
    entries = reader.mapping() if reader else {}
    texts = {key: value.text() for key, value in entries.items()}
    return {key: text for key, text in texts.items() if text is not None}


def _outbound(reader: Reader | None) -> OutboundMode | None:
    mode = reader.fields(("mode",)).get("mode") if reader else None
    chosen = mode.choice([mode.value for mode in OutboundMode]) if mode else None
    return OutboundMode(chosen) if chosen else None


def _timeout(reader: Reader | None) -> int | None:
    text = reader.matching(DURATION, "a duration", example="10s") if reader else None
    return milliseconds(text) if text else None


def _matching(reader: Reader | None, pattern: re.Pattern[str], expected: str, example: str) -> str | None:
    return reader.matching(pattern, expected, example=example) if reader else None
