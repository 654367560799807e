"""Routes: which request goes by which VirtualService. Columns are those of Istio's `proxy-config route`."""

import msgspec

from istioctl.dump.reading import Dump, Filters, Item
from istioctl.dump.shapes import Metadata

HEADERS = ("NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE")

SHOWN_DOMAINS = 2


class _Regex(msgspec.Struct, frozen=True):
    regex: str = ""


class _Named(msgspec.Struct, frozen=True):
    name: str = ""


class Match(msgspec.Struct, frozen=True):
    """`config.route.v3.RouteMatch`"""

    prefix: str | None = None
    path: str | None = None
    path_separated_prefix: str | None = None
    safe_regex: _Regex | None = None
    connect_matcher: dict[str, object] | None = None
    headers: tuple[_Named, ...] = ()
    query_parameters: tuple[_Named, ...] = ()

    @property
    def matches_all(self) -> bool:
        return self.prefix == "/" and not self.headers and not self.query_parameters

    def __str__(self) -> str:
        """`/api*, header end-user`"""
        conditions = [f"header {each.name}" for each in self.headers]
        conditions += [f"query {each.name}" for each in self.query_parameters]
        return ", ".join([self._path(), *conditions])

    def _path(self) -> str:
        if self.prefix is not None:
            return f"{self.prefix}*"
        if self.path is not None:
            return self.path
        if self.path_separated_prefix is not None:
            return f"PathPrefix:{self.path_separated_prefix}"
        if self.safe_regex is not None:
            return f"regex {self.safe_regex.regex}"
        return "CONNECT" if self.connect_matcher is not None else "*"


class _Action(msgspec.Struct, frozen=True):
    cluster: str = ""


class Route(msgspec.Struct, frozen=True):
    """`config.route.v3.Route`"""

    match: Match = Match()
    route: _Action | None = None
    metadata: Metadata = Metadata()


class VirtualHost(msgspec.Struct, frozen=True):
    name: str = ""
    domains: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()


class RouteConfiguration(msgspec.Struct, frozen=True):
    name: str = ""
    virtual_hosts: tuple[VirtualHost, ...] = ()


class _Entry(msgspec.Struct, frozen=True):
    route_config: msgspec.Raw


class _Routes(msgspec.Struct, frozen=True):
    static_route_configs: tuple[_Entry, ...] = ()
    dynamic_route_configs: tuple[_Entry, ...] = ()


def items(dump: Dump, filters: Filters) -> list[Item]:
    found = dump.part("RoutesConfigDump", _Routes)
    entries = (*found.static_route_configs, *found.dynamic_route_configs)
    read = [(entry.route_config, dump.read(entry.route_config, RouteConfiguration)) for entry in entries]
    wanted = sorted((_order(each.name), i) for i, (_, each) in enumerate(read) if filters.wants(name=each.name))
    return [Item(read[i][0], tuple(_rows(read[i][1]))) for _, i in wanted]


def _order(name: str) -> tuple[bool, int, str]:
    """Ports by number, then names."""
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)


def _rows(configuration: RouteConfiguration) -> list[tuple[str, ...]]:
    """One for each route, in the order in which Envoy tries them."""
    hosts = sorted(configuration.virtual_hosts, key=lambda host: host.name)
    return [
        (configuration.name, host.name, _domains(host.domains), str(route.match), route.metadata.istio.document)
        for host in hosts
        for route in host.routes
    ] or [(configuration.name, "", "", "", "")]


def _domains(domains: tuple[str, ...]) -> str:
    """The first few; one with a port is left out where the same is there without."""
    known = set(domains)
    names = [name for name in domains if name.rpartition(":")[0] not in known]
    more = len(names) - SHOWN_DOMAINS
    return ", ".join(names[:SHOWN_DOMAINS]) + (f" + {more} more..." if more > 0 else "")
