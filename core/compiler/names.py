"""Names of upstreams, routes and listeners, as Istio's users and tools know them."""

PASSTHROUGH = "PassthroughCluster"
BLACK_HOLE = "BlackHoleCluster"
INBOUND_PASSTHROUGH = "InboundPassthroughCluster"
FORWARD_PROXY_ROUTES = "http_proxy"
"""The route configuration of the HTTP forward proxy."""
VIRTUAL_INBOUND = "virtualInbound"
"""The listener to which capture `redirect` leads everything that comes in."""
VIRTUAL_OUTBOUND = "virtualOutbound"
"""The listener to which capture `redirect` leads everything that goes out."""
DNS = "dns"
"""The listener to which it leads DNS queries."""


def outbound(host: str, port: int, subset: str = "") -> str:
    return f"outbound|{port}|{subset}|{host}"


def sni(host: str, port: int, subset: str = "") -> str:
    """What a proxy of the mesh asks for inside TLS: the upstream's name, in letters that a host name may have."""
    return f"outbound_.{port}_.{subset}_.{host}"


def inbound(port: int) -> str:
    return f"inbound|{port}||"


def tunnel(port: int, host: str = "") -> str:
    """The upstream that leads back into this proxy, to the listener for `port` (of one host, or of all)."""
    return f"internal|{port}||{host}"


def host_port(host: str, port: int) -> str:
    return f"{host}:{port}"


def listener(address: str, port: int) -> str:
    return f"{address}_{port}"


def gateway_http_routes(port: int) -> str:
    """The routes of all plain servers of a gateway on one port."""
    return f"http.{port}"


def gateway_https_routes(port: int, server: str, gateway: str) -> str:
    """The routes of one server with TLS; `gateway` is `namespace/name`."""
    namespace, _, name = gateway.partition("/")
    return f"https.{port}.{server}.{name}.{namespace}"


def stored_secret(name: str) -> str:
    return f"kubernetes://{name}"


def stored_roots(name: str) -> str:
    return f"kubernetes://{name}-cacert"


def file_secret(certificate: str, key: str) -> str:
    return f"file-cert:{certificate}~{key}"


def file_roots(path: str) -> str:
    return f"file-root:{path}"
