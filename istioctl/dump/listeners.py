"""Listeners: what arrives where, and where it goes. Columns are those of Istio's `proxy-config listener`."""

import msgspec

from istioctl.dump.reading import Dump, Filters, Item, Tagged
from istioctl.dump.routes import RouteConfiguration
from istioctl.dump.shapes import Address

HEADERS = ("ADDRESSES", "PORT", "MATCH", "DESTINATION")

HTTP, TCP, UNKNOWN = "HTTP", "TCP", "UNKNOWN"
API = "(api)"
"""Of a listener without a socket: a name that gRPC calls by itself."""
INTERNAL = "(internal)"
"""The address of a listener that has none: only this Envoy itself can connect to it."""


class _Cidr(msgspec.Struct, frozen=True):
    address_prefix: str = ""
    prefix_len: int = 0


class _ChainMatch(msgspec.Struct, frozen=True):
    destination_port: int = 0
    prefix_ranges: tuple[_Cidr, ...] = ()
    server_names: tuple[str, ...] = ()
    transport_protocol: str = ""
    application_protocols: tuple[str, ...] = ()

    def __str__(self) -> str:
        """`SNI: x; Trans: tls; App: http/1.1,h2c`, as Istio writes it."""
        parts = {
            "Addr": ",".join(self._addresses()),
            "SNI": ",".join(self.server_names),
            "Trans": self.transport_protocol,
            "App": ",".join(self.application_protocols),
        }
        return "; ".join(f"{name}: {text}" for name, text in parts.items() if text) or "ALL"

    def _addresses(self) -> list[str]:
        port = f":{self.destination_port}" if self.destination_port else ""
        ranges = [f"{each.address_prefix}/{each.prefix_len}{port}" for each in self.prefix_ranges]
        return ranges or ([f"*{port}"] if port else [])


class _Filter(msgspec.Struct, frozen=True):
    typed_config: msgspec.Raw = msgspec.Raw(b"{}")


class _Chain(msgspec.Struct, frozen=True):
    filter_chain_match: _ChainMatch = _ChainMatch()
    filters: tuple[_Filter, ...] = ()


class _AdditionalAddress(msgspec.Struct, frozen=True):
    address: Address = Address()


class _ApiListener(msgspec.Struct, frozen=True):
    api_listener: msgspec.Raw = msgspec.Raw(b"{}")


class _Listener(msgspec.Struct, frozen=True):
    name: str = ""
    address: Address | None = None
    additional_addresses: tuple[_AdditionalAddress, ...] = ()
    filter_chains: tuple[_Chain, ...] = ()
    default_filter_chain: _Chain | None = None
    api_listener: _ApiListener | None = None

    @property
    def addresses(self) -> list[str]:
        if self.api_listener:
            return [f"{API} {self.name.rpartition(':')[0]}"]
        first = [self.address.host] if self.address else [INTERNAL]
        return first + [each.address.host for each in self.additional_addresses]

    @property
    def port(self) -> str:
        """A listener without an address has the port in its name: `0.0.0.0_9080`, `reviews:9080`."""
        return str(self.address.port) if self.address else self.name.replace("_", ":").rpartition(":")[2]


class _State(msgspec.Struct, frozen=True):
    listener: msgspec.Raw


class _Dynamic(msgspec.Struct, frozen=True):
    active_state: _State | None = None
    warming_state: _State | None = None


class _Listeners(msgspec.Struct, frozen=True):
    static_listeners: tuple[_State, ...] = ()
    dynamic_listeners: tuple[_Dynamic, ...] = ()


class _Rds(msgspec.Struct, frozen=True):
    route_config_name: str = ""


class _HttpManager(msgspec.Struct, frozen=True):
    rds: _Rds | None = None
    route_config: RouteConfiguration = RouteConfiguration()


class _Weighted(msgspec.Struct, frozen=True):
    name: str = ""
    weight: int = 0


class _WeightedClusters(msgspec.Struct, frozen=True):
    clusters: tuple[_Weighted, ...] = ()


class _TcpProxy(msgspec.Struct, frozen=True):
    cluster: str = ""
    weighted_clusters: _WeightedClusters = _WeightedClusters()


def items(dump: Dump, filters: Filters) -> list[Item]:
    found = dump.part("ListenersConfigDump", _Listeners)
    states = [*found.static_listeners, *(each.active_state or each.warming_state for each in found.dynamic_listeners)]
    read = [(state.listener, dump.read(state.listener, _Listener)) for state in states if state]
    read.sort(key=lambda pair: (pair[1].port.zfill(5), pair[1].addresses, pair[1].name))
    listed = [(raw, listener, _ends(dump, listener)) for raw, listener in read]
    return [
        Item(raw, _rows(listener, ends))
        for raw, listener, ends in listed
        if _wanted(listener, filters) and filters.wants(type=_type(ends))
    ]


def _wanted(listener: _Listener, filters: Filters) -> bool:
    return filters.wants(port=listener.port) and (not filters.address or filters.address in listener.addresses)


_End = tuple[str, str, str]
"""Of one filter chain: what it matches, HTTP or TCP, and where it leads."""


def _ends(dump: Dump, listener: _Listener) -> list[_End]:
    default = (listener.default_filter_chain,) if listener.default_filter_chain else ()
    api = (_Chain(filters=(_Filter(listener.api_listener.api_listener),)),) if listener.api_listener else ()
    chains = (*listener.filter_chains, *default, *api)
    return [(str(chain.filter_chain_match), *_destination(dump, chain)) for chain in chains]


def _rows(listener: _Listener, ends: list[_End]) -> tuple[tuple[str, ...], ...]:
    where = ",".join(listener.addresses), listener.port
    return tuple((*where, match, destination) for match, _, destination in ends) or ((*where, "", ""),)


def _type(ends: list[_End]) -> str:
    return "+".join(sorted({kind for _, kind, _ in ends} - {UNKNOWN})) or UNKNOWN


def _destination(dump: Dump, chain: _Chain) -> tuple[str, str]:
    """What is said by the last filter that says it."""
    for each in reversed(chain.filters):
        match dump.read(each.typed_config, Tagged).kind:
            case "HttpConnectionManager":
                return HTTP, _http(dump.read(each.typed_config, _HttpManager))
            case "TcpProxy":
                return TCP, _tcp(dump.read(each.typed_config, _TcpProxy))
    return UNKNOWN, "Non-HTTP/Non-TCP"


def _http(manager: _HttpManager) -> str:
    if manager.rds:
        return f"Route: {manager.rds.route_config_name}"
    routes = [route for host in manager.route_config.virtual_hosts for route in host.routes]
    if len(routes) == 1 and routes[0].match.matches_all and routes[0].route and routes[0].route.cluster:
        return f"Cluster: {routes[0].route.cluster}"
    return "Inline Route: " + ", ".join(str(route.match) for route in routes)


def _tcp(proxy: _TcpProxy) -> str:
    shares = ", ".join(f"{each.name} ({each.weight})" for each in proxy.weighted_clusters.clusters)
    return f"Cluster: {proxy.cluster or shares}"
