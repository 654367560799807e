"""What a kind of configuration is: its names, the shape of its spec, and how one document of it is lowered."""

from collections.abc import Callable, Mapping
from typing import ClassVar

import msgspec

from core.diagnostics import Severity
from core.ir.lowered import Lowered
from core.model.config import Document
from core.model.mesh import Mesh


def json_name(name: str) -> str:
    """The proto3 JSON name of a field: `consecutive_5xx_errors` becomes `consecutive5xxErrors`."""
    head, *tail = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in tail)


class Spec(msgspec.Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """Base of spec types: every field optional, as in proto3; what must be there is a rule of the kind.

    `later` names fields of the API that are not supported yet: an error where leaving one out would change where
    traffic goes or who may call, a warning otherwise. Such a field is never passed over in silence.
    """

    later: ClassVar[Mapping[str, Severity]] = {}


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind. All `versions` share one schema; the first is written. `namespace`: where a document without one lives.

    `lower` is pure in its two arguments. `singleton` is the only name a document may have, "" for any.
    """

    group: str
    kind: str
    plural: str
    short_names: tuple[str, ...] = ()
    versions: tuple[str, ...]
    spec: type[Spec]
    lower: Callable[[Document, Mesh], Lowered]
    namespace: str = ""
    singleton: str = ""
