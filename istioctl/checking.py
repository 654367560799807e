"""Files to documents, with everything that is wrong with them. Needs no mesh; what comes next is up to the commands."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import click

from core.diagnostics import Diagnostic, Severity, has_errors
from core.kinds.decode import Entry, read, without_doubles
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
    def verdict(self) -> str:
        if has_errors(self.diagnostics):
            return "invalid"
        return "doubtful" if self.diagnostics else "valid"


def check(sources: Iterable[Source], *, namespace: str) -> tuple[Checked, ...]:
    """A verdict per document, in order; a document that is given twice is refused the second time."""
    entries = (entry for s in sources for entry in read(s.text, file=s.name, default_namespace=namespace))
    return tuple(Checked(entry, findings(entry, Mesh())) for entry in without_doubles(entries))


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
