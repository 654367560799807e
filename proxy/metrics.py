"""Envoy's Prometheus text with Istio's standard metrics under their exact names and labels. Pure.

Envoy counts by short tags (`core.envoy.telemetry`); here they become Istio's labels. Not for fetching or serving.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from core.model.peer import Peer

_OURS = "envoy_istio_"
_TAG = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_UNKNOWN = "unknown"


def istio_names(text: str) -> str:
    """`text` of Envoy's `/stats/prometheus` with Istio's names; all that is not Istio's stays as it is."""
    if _OURS not in text:
        return text
    return "\n".join(_line(line) if _OURS in line else line for line in text.split("\n"))


def _line(line: str) -> str:
    if line.startswith("#"):
        return line.replace(_OURS, "istio_", 1)
    if not line.startswith(_OURS):
        return line
    name, brace, rest = line[len("envoy_") :].partition("{")
    if not brace:
        return name
    tags, end, value = rest.rpartition("}")
    tags, bucket, bound = tags.partition(',le="')
    return f"{name}{{{_labels(tags, name.startswith('istio_tcp_'))}{bucket}{bound}{end}{value}"


@lru_cache(maxsize=16384)
def _labels(tags: str, tcp: bool) -> str:
    """Remembered: a series' tags come back in every bucket of its histograms, and in every scrape."""
    found = dict(_TAG.findall(tags))
    labels = dict(_standard(found, "tcp" if tcp else _protocol(found)))
    return ",".join(f'{name}="{value}"' for name, value in labels.items())


def _protocol(tags: dict[str, str]) -> str:
    return "grpc" if tags.get("grpc") else "http"


def _standard(tags: dict[str, str], protocol: str) -> Iterator[tuple[str, str]]:
    """Istio's labels, in the order of its documentation."""
    reporter = tags.get("reporter", "")
    source, destination = _sides(tags)
    yield "reporter", reporter
    yield from source
    yield from destination
    yield from _service(tags)
    yield "request_protocol", protocol
    if protocol != "tcp":
        yield "response_code", tags.get("code", "") or "0"
        yield "grpc_response_status", tags.get("grpc", "")
    yield "response_flags", tags.get("response_flags", "") or "-"
    yield "connection_security_policy", _policy(reporter, tags.get("principal", ""))


def _policy(reporter: str, principal: str) -> str:
    """A caller cannot know how the other side sees the connection (Istio)."""
    if reporter == "source":
        return _UNKNOWN
    return "mutual_tls" if principal else "none"


Labels = tuple[tuple[str, str], ...]


def _sides(tags: dict[str, str]) -> tuple[Labels, Labels]:
    """Source and destination. Own principal is shown to those who show theirs; without one a claim is not believed."""
    own, _, local = tags.get("local", "").partition("|")
    principal = tags.get("principal", "")
    here = Peer.parse(local)
    if tags.get("reporter") == "source":
        return _side("source", here, own if principal else ""), _side("destination", _remote(tags), principal)
    caller = _remote(tags) if principal else Peer()
    return _side("source", caller, principal), _side("destination", here, own if principal else "")


def _remote(tags: dict[str, str]) -> Peer:
    peer = tags.get("peer", "")
    return Peer.parse(peer) if peer else Peer(namespace=_namespace(tags.get("principal", "")))


def _namespace(principal: str) -> str:
    """Of `spiffe://<domain>/ns/<namespace>/sa/<account>`."""
    parts = principal.split("/")
    return parts[4] if len(parts) == 7 and parts[3] == "ns" else ""


def _side(which: str, peer: Peer, principal: str) -> Labels:
    named = {
        "workload": peer.workload,
        "workload_namespace": peer.namespace,
        "principal": principal,
        "app": peer.app,
        "version": peer.version,
        "cluster": peer.cluster,
        "canonical_service": peer.service,
        "canonical_revision": peer.revision,
    }
    return tuple((f"{which}_{name}", value or _UNKNOWN) for name, value in named.items())


def _service(tags: dict[str, str]) -> Labels:
    """`host;name;namespace` of a service, or the host of a call to none."""
    host, _, rest = tags.get("service", "").partition(";")
    name, _, namespace = rest.partition(";")
    return (
        ("destination_service", host or _UNKNOWN),
        ("destination_service_name", name or _UNKNOWN),
        ("destination_service_namespace", namespace or _UNKNOWN),
    )


def merged(envoy: str, app: str) -> str:
    """Both texts as one: what the application says stands behind, without the types and help that were said before.

    Families are kept together as each text has them; a family in both keeps Envoy's metadata.
    """
    said = set(_METADATA.findall(envoy))
    lines = app.split("\n")
    kept = [line for line in lines if not (found := _METADATA.match(line)) or found.groups() not in said]
    return f"{envoy.rstrip(chr(10))}\n{chr(10).join(kept)}" if envoy else app


_METADATA = re.compile(r"^# (TYPE|HELP|UNIT) (\S+)", re.MULTILINE)
