"""From the text of a mesh file to `MeshFile`, or to every mistake in it at once. Manual: docs/reference/mesh-file.md.

The first document describes services; further ones are configuration and stay undecoded (their kinds decode them).
"""

from pathlib import Path

import msgspec

from core.diagnostics import Diagnostic, Place, has_errors
from platforms.local.codes import Code
from platforms.local.decode_config import mesh_config, mesh_document, raw_documents
from platforms.local.decode_gateway import gateways, secrets
from platforms.local.decode_service import Decoder
from platforms.local.limits import check_limits, check_names
from platforms.local.meshfile import MeshFile
from platforms.local.reader import Findings, Reader, documents

_TOP = ("mesh", "namespace", "services", "gateways", "secrets")


class Decoded(msgspec.Struct, frozen=True, kw_only=True):
    """`file` is None exactly when one of the diagnostics is an error: nothing is ever half-applied."""

    file: MeshFile | None
    diagnostics: tuple[Diagnostic, ...] = ()


def load(path: Path) -> Decoded:
    """Reads and decodes a mesh file; a file that cannot be read is a diagnostic, too."""
    try:
        return decode(path.read_bytes(), name=str(path))
    except OSError as error:
        return unreadable(str(path), error)


def unreadable(name: str, error: OSError) -> Decoded:
    """What decoding a file comes to that could not be read."""
    findings = Findings(name)
    fix = "check the path and its permissions"
    findings.error(Code.UNREADABLE, Place(name), f"cannot be read: {error.strerror or error}", fix=fix)
    return Decoded(file=None, diagnostics=findings.sorted())


def decode(text: str | bytes, *, name: str) -> Decoded:
    """`name` is the file's name in diagnostics and in the source of its documents."""
    findings = Findings(name)
    try:
        file = _file(text if isinstance(text, str) else text.decode("utf-8-sig"), findings)
    except UnicodeDecodeError as error:
        findings.error(Code.SYNTAX, Place(name), f"is not UTF-8 text (byte {error.start})", fix="save it as UTF-8")
        file = None
    except (OverflowError, RecursionError):
        fix = "use fewer aliases (*name)"
        findings.error(Code.TOO_MANY, Place(name), "its aliases unfold without end", fix=fix)
        file = None
    found = findings.sorted()
    return Decoded(file=None if has_errors(found) else file, diagnostics=found)


def _file(text: str, findings: Findings) -> MeshFile | None:
    present = documents(text, findings)
    if not present:
        if not findings.sorted():
            fix = "start with `services:`"
            findings.error(Code.EMPTY, Place(findings.file, 1, 1), "the file is empty", fix=fix)
        return None
    return _mesh_file(present[0], present[1:])


def _mesh_file(first: Reader, further: list[Reader]) -> MeshFile | None:
    if {"kind", "apiVersion"} & first.mapping().keys():
        fix = "put a document with `services:` first, then `---`"
        first.fail(Code.MISSING, "the first document must describe services, this one is configuration", fix=fix)
        return None
    fields = first.fields(_TOP)
    if "services" not in fields:
        first.fail(Code.MISSING, "the field `services` is missing", fix="add `services:` (it may be {})")
    decoder = Decoder(namespace=fields.get("namespace"))
    mesh = mesh_config(fields.get("mesh"))
    services = decoder.services(fields["services"]) if "services" in fields else ()
    check_names(decoder.found)
    check_limits(decoder.found)
    configs = mesh_document(fields.get("mesh"))
    raw = raw_documents(further, decoder.namespace)
    taken = (key for service in services for each in service.workloads for key in service.replicas(each))
    entries = gateways(fields.get("gateways"), decoder.namespace, taken=taken)
    stored = secrets(fields.get("secrets"), decoder.namespace)
    return MeshFile(mesh=mesh, services=services, gateways=entries, secrets=stored, documents=(*configs, *raw))
