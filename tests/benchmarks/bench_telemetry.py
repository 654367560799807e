"""What Istio's metrics cost the proxies: CPU of two sidecars for a call between them, with and without.

Prints a table; run it with `python tests/benchmarks/bench_telemetry.py [calls]`. Judges nothing: machines differ.
The call goes over mutual TLS and kept-alive connections, and takes its ways in turn, so that a noisy moment hits all.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Literal

from envoy.config.listener.v3.listener_pb2 import Listener as ListenerProto
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from google.protobuf.any_pb2 import Any

from core.envoy import clusters, listeners
from core.envoy.any import packed, typed
from core.manager.ca.authority import Authority
from core.model.identity import SpiffeId
from core.model.service import Locality, WorkloadKey
from core.model.workload import Explicit, Workload
from core.view.listener import FilterChain, HttpChain, Listener, Socket
from core.view.route import ForwardTo, Route, RouteConfiguration, VirtualHost, WeightedUpstream
from core.view.security import NO_TLS, MeshClient, MeshServer, ServerSecurity
from core.view.upstream import Endpoint, LocalityEndpoints, Resolved, ServiceRef, Static, Upstream
from proxy.testing.sidecars import Sidecar, certify

ADDRESS, OUT, IN, APP = "127.77.12.1", 22001, 22002, 22003
ROUNDS, AT_ONCE = 5, 20
SERVICE = ServiceRef("web.default.svc.cluster.local", "web", "default")
_SECURITY: dict[str, ServerSecurity] = {"inbound": MeshServer(protocols=("http/1.1",)), "outbound": NO_TLS}
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
ASK = b"GET /x HTTP/1.1\r\nhost: web\r\n\r\n"


def workload(name: str) -> Workload:
    return Workload(key=WorkloadKey("default", name), address="127.77.12.9", capture=Explicit())


def serving(port: int, upstream: str, direction: Literal["inbound", "outbound"]) -> bytes:
    routes = (Route(action=ForwardTo(upstreams=(WeightedUpstream(upstream),))),)
    chain = HttpChain(stat_prefix="x", routes=RouteConfiguration("x", (VirtualHost("x", ("*",), routes),)))
    filters = (FilterChain(serve=chain, security=_SECURITY[direction]),)
    return listeners.encode(Listener(name="x", bind=Socket(ADDRESS, port), direction=direction, chains=filters))


def of_caller() -> list[bytes]:
    found = LocalityEndpoints(Locality(), (Endpoint(ADDRESS, IN, workload="web-v1;default;web;v1;default"),))
    mesh = MeshClient(sni="x", identities=(SpiffeId("cluster.local", "ns/default/sa/default"),))
    upstream = Upstream(name="web", endpoints=Resolved((found,)), http="http1", service=SERVICE, security=mesh)
    return [clusters.encode(upstream), serving(OUT, "web", "outbound")]


def of_service() -> list[bytes]:
    upstream = Upstream(name="app", endpoints=Static(ADDRESS, APP), http="http1", service=SERVICE)
    return [clusters.encode(upstream), serving(IN, "app", "inbound")]


def without(*names: str) -> Callable[[bytes], bytes]:
    """A listener without the access loggers and HTTP filters of these names."""

    def strip(resource: bytes) -> bytes:
        envelope = Any.FromString(resource)
        if not envelope.type_url.endswith(".Listener"):
            return resource
        listener = ListenerProto.FromString(envelope.value)
        config = listener.filter_chains[0].filters[0].typed_config
        manager = HttpConnectionManager.FromString(config.value)
        for field in (manager.access_log, manager.http_filters):
            kept = [each for each in field if each.name not in names]
            del field[:]
            field.extend(kept)
        config.CopyFrom(typed(manager))
        return packed(listener)

    return strip


STATS, EXCHANGE = "envoy.access_loggers.stats", "istio.peer_metadata"
WAYS: dict[str, Callable[[bytes], bytes]] = {
    "neither": without(STATS, EXCHANGE),
    "names told (header)": without(STATS),
    "metrics, names told": without(),
}


@contextlib.asynccontextmanager
async def pair(authority: Authority, change: Callable[[bytes], bytes]) -> AsyncIterator[tuple[int, int]]:
    """Process ids of both sidecars."""
    with tempfile.TemporaryDirectory() as folder:
        async with contextlib.AsyncExitStack() as stack:
            pids = []
            for name, resources in (("caller", of_caller()), ("service", of_service())):
                place = Path(folder) / name
                place.mkdir()
                certify(place, authority, workload(name))
                sidecar = Sidecar(place, workload(name), [change(each) for each in resources])
                await stack.enter_async_context(sidecar.running())
                pids.append(sidecar.pid)
            yield pids[0], pids[1]


def cpu(pids: Iterable[int]) -> float:
    """Seconds, of the kernel's and their own time."""
    ticks = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13] for pid in pids)
    return sum(int(tick) for each in ticks for tick in each) / os.sysconf("SC_CLK_TCK")


async def call(times: int) -> None:
    reader, writer = await asyncio.open_connection(ADDRESS, OUT)
    for _ in range(times // AT_ONCE):
        writer.write(ASK * AT_ONCE)
        for _ in range(AT_ONCE):
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(2)
    writer.close()


async def application(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(ANSWER)


async def measured(times: int) -> dict[str, list[float]]:
    """Microseconds of both sidecars for one call, for each round."""
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    authority = Authority.create()
    async with await asyncio.start_server(application, ADDRESS, APP):
        for _ in range(ROUNDS):
            for name, change in WAYS.items():
                async with pair(authority, change) as pids:
                    await call(500)
                    before = cpu(pids)
                    await call(times)
                    found[name].append((cpu(pids) - before) / times * 1e6)
    return found


def main() -> None:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    found = asyncio.run(measured(times))
    bare = statistics.median(found["neither"])
    print(f"{'CPU of both sidecars for one call':36} {'us':>7} {'ratio':>6}")
    for name, values in found.items():
        middle = statistics.median(values)
        print(f"{name:36} {middle:7.0f} {middle / bare:6.2f}")


if __name__ == "__main__":
    main()
