"""Many fake proxies in one process: real delta streams, each over its own unix socket, that accept everything at once.

Run as `python fake_proxies.py SOCKET...`. Not Envoys: they keep nothing and check nothing, so that what is measured on
the other side is the control plane. Says "synced N" on stdout each time N responses have been answered in all.
"""

import asyncio
import sys

import grpc
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

_METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
_TYPE = "type.googleapis.com/envoy.config."
CLUSTER, ENDPOINTS = _TYPE + "cluster.v3.Cluster", _TYPE + "endpoint.v3.ClusterLoadAssignment"
LISTENER, ROUTES = _TYPE + "listener.v3.Listener", _TYPE + "route.v3.RouteConfiguration"


async def proxy(socket: str, number: int) -> None:
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"unix:{socket}", options=options) as channel:
        stream = channel.stream_stream(_METHOD)()  # type: ignore[call-arg]  # the stubs want an iterator
        first = DeltaDiscoveryRequest(type_url=CLUSTER)
        first.node.id = f"sidecar~127.0.0.1~proxy-{number}.default~default.svc.cluster.local"
        await stream.write(first.SerializeToString())
        asked = set()
        while isinstance(raw := await stream.read(), bytes):
            response = DeltaDiscoveryResponse.FromString(raw)
            if response.type_url == CLUSTER and CLUSTER not in asked:
                names = [r.name for r in response.resources if r.name.startswith("outbound|")]
                await _ask(stream, ENDPOINTS, names)
            if response.type_url == ENDPOINTS and LISTENER not in asked:
                asked.add(LISTENER)
                await _ask(stream, LISTENER, [])
                await _ask(stream, ROUTES, ["http_proxy"])
            asked.add(response.type_url)
            await stream.write(
                DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce).SerializeToString()
            )


async def _ask(stream: "grpc.aio.StreamStreamCall[bytes, bytes]", type_url: str, names: list[str]) -> None:
    request = DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=names)
    await stream.write(request.SerializeToString())


async def main(sockets: list[str]) -> None:
    await asyncio.gather(*(proxy(socket, number) for number, socket in enumerate(sockets)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
