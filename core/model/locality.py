"""What localities mean for a call: which endpoints come first, and which part of the calls goes where.

Values only. What they make of endpoints is decided in `core.compiler.nearness`.
"""

import msgspec

from core.model.labels import Labels
from core.model.service import Locality

REGION, ZONE, SUBZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"
TOPOLOGY = (REGION, ZONE, SUBZONE)
"""Labels that stand for the parts of a locality, as in Istio."""


class Alike(msgspec.Struct, frozen=True, tag=True):
    """All endpoints are alike, wherever they run."""


class Failover(msgspec.Struct, frozen=True, tag=True):
    """The nearest endpoints first, the others when too few of those are healthy.

    `regions` says for a region which other one comes next. `labels` are compared in this order, up to the first that
    differs: the value is the wanted one, None the caller's own. With `labels`, localities count only by `regions`.
    """

    regions: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str | None], ...] = ()


class Portion(msgspec.Struct, frozen=True):
    """Where calls from a place go, in parts of 100. A place is a locality whose empty parts stand for anything."""

    source: Locality
    to: tuple[tuple[Locality, int], ...]


class Distribute(msgspec.Struct, frozen=True, tag=True):
    """The first portion decides whose source covers the caller; without one, all endpoints are alike."""

    portions: tuple[Portion, ...]


LocalityPolicy = Alike | Failover | Distribute


def covers(place: Locality, locality: Locality) -> bool:
    """Whether `locality` lies within `place`."""
    return (
        place.region in ("", locality.region)
        and place.zone in ("", locality.zone)
        and place.subzone in ("", locality.subzone)
    )


def label_of(name: str, locality: Locality, labels: Labels) -> str:
    """The value of a label, of which some are parts of the locality; "" where it has none."""
    match name:
        case "topology.kubernetes.io/region":
            return locality.region
        case "topology.kubernetes.io/zone":
            return locality.zone
        case "topology.istio.io/subzone":
            return locality.subzone
        case _:
            return labels.get(name)
