"""Clusters: who can be called, and by which DestinationRule. Columns are those of Istio's `proxy-config cluster`."""

from typing import NamedTuple

import msgspec

from istioctl.dump.reading import Dump, Filters, Item
from istioctl.dump.shapes import IstioMetadata, Metadata

HEADERS = ("SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE")


class _Custom(msgspec.Struct, frozen=True):
    name: str = ""


class _Cluster(msgspec.Struct, frozen=True):
    """A type that is not written is STATIC: the first value of the enum."""

    name: str = ""
    type: str = "STATIC"
    cluster_type: _Custom | None = None
    metadata: Metadata = Metadata()


class _Entry(msgspec.Struct, frozen=True):
    cluster: msgspec.Raw


class _Clusters(msgspec.Struct, frozen=True):
    static_clusters: tuple[_Entry, ...] = ()
    dynamic_active_clusters: tuple[_Entry, ...] = ()
    dynamic_warming_clusters: tuple[_Entry, ...] = ()


class Name(NamedTuple):
    """`outbound|9080|v1|reviews.default.svc.cluster.local`, taken apart; other names are all `fqdn`."""

    fqdn: str
    port: str = ""
    subset: str = ""
    direction: str = ""

    @classmethod
    def parse(cls, text: str, istio: IstioMetadata) -> "Name":
        """A name without a host has that of the service it is for."""
        parts = text.split("|")
        if len(parts) != 4:
            return cls(text)
        direction, port, subset, host = parts
        return cls(host or (istio.services[0].host if istio.services else ""), port, subset, direction)


def items(dump: Dump, filters: Filters) -> list[Item]:
    found = dump.part("ClustersConfigDump", _Clusters)
    entries = (*found.static_clusters, *found.dynamic_active_clusters, *found.dynamic_warming_clusters)
    clusters = (Item(entry.cluster, (_row(dump.read(entry.cluster, _Cluster)),)) for entry in entries)
    return sorted((each for each in clusters if _wanted(each.rows[0], filters)), key=_order)


def _order(item: Item) -> tuple[str, ...]:
    """Ports by number."""
    fqdn, port, *rest = item.rows[0]
    return fqdn, port.zfill(5), *rest


def _row(cluster: _Cluster) -> tuple[str, ...]:
    istio = cluster.metadata.istio
    kind = cluster.cluster_type.name if cluster.cluster_type else cluster.type
    return (*(part or "-" for part in Name.parse(cluster.name, istio)), kind, istio.document)


def _wanted(row: tuple[str, ...], filters: Filters) -> bool:
    fqdn, port, subset, direction, *_ = row
    return filters.fqdn in fqdn and filters.wants(port=port, subset=subset, direction=direction)
