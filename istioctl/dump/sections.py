"""The parts of a dump that people ask for by name, and how they are printed."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from istioctl.dump import bootstrap, clusters, endpoints, listeners, routes, secrets
from istioctl.dump.reading import Dump, Filters, Item
from istioctl.output import as_json, as_yaml, table


class Section(NamedTuple):
    headers: Sequence[str]
    items: Callable[[Dump, Filters], list[Item]]


SECTIONS: Mapping[str, Section] = {
    "cluster": Section(clusters.HEADERS, clusters.items),
    "listener": Section(listeners.HEADERS, listeners.items),
    "route": Section(routes.HEADERS, routes.items),
    "endpoint": Section(endpoints.HEADERS, endpoints.items),
    "secret": Section(secrets.HEADERS, secrets.items),
    "bootstrap": Section(bootstrap.HEADERS, bootstrap.items),
}
ALL = "all"
TABLES = ("cluster", "listener", "route", "endpoint", "secret")


def render(dump: Dump, what: str, *, filters: Filters, output: str) -> str:
    """A section, or everything, in one of the formats of `proxy-config`; "" when a table would be empty.

    Raises `Misconfigured` when the dump is broken.
    """
    if output == "short":
        tables = (_table(SECTIONS[name], dump, filters) for name in (TABLES if what == ALL else (what,)))
        return "\n\n".join(filter(None, tables))
    return (as_json if output == "json" else as_yaml)(_value(dump, what, filters))


def _value(dump: Dump, what: str, filters: Filters) -> object:
    """As Envoy said it; of the bootstrap there is only one."""
    if what == ALL:
        return dump.whole()
    found = [item.raw for item in SECTIONS[what].items(dump, filters)]
    return found[0] if what == "bootstrap" else found


def _table(section: Section, dump: Dump, filters: Filters) -> str:
    rows = [row for item in section.items(dump, filters) for row in item.rows]
    return table(section.headers, rows) if rows else ""
