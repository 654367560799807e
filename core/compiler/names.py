"""Names of upstreams, routes and listeners, as Istio's users and tools know them."""

PASSTHROUGH = "PassthroughCluster"
BLACK_HOLE = "BlackHoleCluster"
FORWARD_PROXY_ROUTES = "http_proxy"
"""The route configuration of the HTTP forward proxy."""


def outbound(host: str, port: int, subset: str = "") -> str:
    return f"outbound|{port}|{subset}|{host}"


def inbound(port: int) -> str:
    return f"inbound|{port}||"


def tunnel(port: int, host: str = "") -> str:
    """The upstream that leads back into this proxy, to the listener for `port` (of one host, or of all)."""
    return f"internal|{port}||{host}"


def host_port(host: str, port: int) -> str:
    return f"{host}:{port}"


def listener(address: str, port: int) -> str:
    return f"{address}_{port}"
