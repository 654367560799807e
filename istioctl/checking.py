"""Files to documents, with everything that is wrong with them. Needs no mesh; what comes next is up to the commands."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import click

from core.diagnostics import Diagnostic, Severity, has_errors
from core.kinds.decode import Entry, read, without_doubles
from core.kinds.nodes import Mapping, Node, Scalar
from core.kinds.validate import findings
from core.model.mesh import Mesh
from istioctl.sources import Source

VERDICTS = ("valid", "doubtful", "invalid")

_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}


class Checked(NamedTuple):
    """One document of a file, or what is left of it."""

    entry: Entry
    diagnostics: tuple[Diagnostic, ...]

    @property
    def is_mesh(self) -> bool:
        """Whether this is no object but the description of a mesh, as `istioctl up` takes it."""
        return _is_mesh(self.entry)

    @property
    def verdict(self) -> str:
        if has_errors(self.diagnostics):
            return "invalid"
        return "doubtful" if self.diagnostics else "valid"


def check(sources: Iterable[Source], *, namespace: str) -> tuple[Checked, ...]:
    """A verdict per document, in order; a document that is given twice is refused the second time."""
    texts = {source.name: source.text for source in sources}
    entries = (entry for file, text in texts.items() for entry in _entries(file, text, namespace))
    return tuple(_checked(entry, texts[entry.file]) for entry in without_doubles(entries))


def _entries(file: str, text: str, namespace: str) -> tuple[Entry, ...]:
    """Rules in a mesh file belong to the namespace that it names."""
    found = read(text, file=file, default_namespace=namespace)
    own = _namespace_of(found[0].root) if found and _is_mesh(found[0]) else None
    return read(text, file=file, default_namespace=own) if own else found


def _namespace_of(root: Node | None) -> str | None:
    field = root.get("namespace") if isinstance(root, Mapping) else None
    name = field.value.value if field and isinstance(field.value, Scalar) else None
    return name if isinstance(name, str) else None


def _is_mesh(entry: Entry) -> bool:
    root = entry.root
    return isinstance(root, Mapping) and bool(root.get("services")) and not (root.get("kind") or root.get("apiVersion"))


def _checked(entry: Entry, text: str) -> Checked:
    if not _is_mesh(entry):
        return Checked(entry, findings(entry, Mesh()))
    from platforms.local.decode import decode

    return Checked(entry, decode(text, name=entry.file).diagnostics)


def line_of(found: Diagnostic) -> str:
    """`rule.yaml:12:7: Error [IST0106] VirtualService default/x spec.http[0].foo: unknown field 'foo'; did you ...`"""
    level = click.style(f"{found.severity} [{found.code}]", fg=_COLOURS[found.severity])
    place = f"{found.place}: " if found.place else ""
    what = f" {found.origin}" if found.origin else ""
    fix = f"; {found.fix}" if found.fix else ""
    return f"{place}{level}{what}: {found.message}{fix}"


def summary(checked: Iterable[Checked]) -> str:
    """`3 documents: 1 valid, 2 invalid`"""
    counted = Counter(each.verdict for each in checked)
    total = counted.total()
    parts = ", ".join(f"{counted[verdict]} {verdict}" for verdict in VERDICTS if counted[verdict])
    return f"{total} document{'' if total == 1 else 's'}: {parts}" if total else "no document found"
