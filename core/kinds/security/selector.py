"""`selector` of documents that are for certain workloads."""

import msgspec

from core.kinds import names
from core.kinds.findings import Context
from core.kinds.kind import Spec
from core.model.config import Origin
from core.model.labels import NO_LABELS, Labels


class SelectorSpec(Spec, frozen=True):
    match_labels: dict[str, str] = msgspec.field(default_factory=dict)


def labels(context: Context, spec: SelectorSpec | None, at: Origin) -> Labels:
    """A selector without labels selects everybody, as if it were not there."""
    found = spec.match_labels if spec else {}
    for name, value in found.items():
        if "*" in name or "*" in value:
            context.error(at.at(name), "labels are compared as they are; there are no wildcards", fix="write the value")
            return NO_LABELS
    return names.labels(context, found, at)
