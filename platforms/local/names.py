"""The spellings a mesh file allows: names, labels and durations."""

import re

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""RFC 1123 label: service, namespace and workload names."""

DNS_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*")
"""RFC 1123 subdomain: names of documents, service accounts, trust domains."""

LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LOCALITY = re.compile(r"([^/*\s]+(/[^/*\s]+){0,2})?")
"""Region, zone and subzone."""

DURATION = re.compile(r"([0-9]+(\.[0-9]+)?(h|ms|m|s))+")

_UNITS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


def milliseconds(duration: str) -> int:
    """Of Go's and protobuf's spelling of durations: `1h30m`, `10s`, `250ms`, `0.5s`."""
    parts = re.findall(r"([0-9.]+)(h|ms|m|s)", duration)
    return round(sum(float(number) * _UNITS[unit] for number, unit in parts))
