"""A stub of the Manager: answers each first request of a type once, and knows nothing of what it sends."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from google.protobuf.any_pb2 import Any

Context = grpc.aio.ServicerContext[bytes, bytes]
SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"


class StubManager:
    """Serves ADS in both transports on the unix socket `path`. `resources` holds (name, resource) of every type."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._server = grpc.aio.server()
        self.resources: list[tuple[str, Any]] = []
        self.nodes: list[str] = []

    async def start(self) -> None:
        handlers = {
            "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(self._delta),
            "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(self._whole),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self._server.add_insecure_port(f"unix:{self._path}")
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(None)

    async def _delta(self, requests: AsyncIterator[bytes], context: Context) -> None:
        async for raw in requests:
            request = DeltaDiscoveryRequest.FromString(raw)
            if request.response_nonce:
                continue
            self._note(request.node.id)
            answer = DeltaDiscoveryResponse(type_url=request.type_url, nonce="1")
            for name, resource in self._of(request.type_url):
                answer.resources.add(name=name, version="1", resource=resource)
            await context.write(answer.SerializeToString())

    async def _whole(self, requests: AsyncIterator[bytes], context: Context) -> None:
        async for raw in requests:
            request = DiscoveryRequest.FromString(raw)
            if request.response_nonce:
                continue
            self._note(request.node.id)
            resources = [resource for _, resource in self._of(request.type_url)]
            answer = DiscoveryResponse(type_url=request.type_url, nonce="1", version_info="1", resources=resources)
            await context.write(answer.SerializeToString())

    def _note(self, node: str) -> None:
        """Only the first request of a stream names the node."""
        if node:
            self.nodes.append(node)

    def _of(self, type_url: str) -> list[tuple[str, Any]]:
        return [(name, resource) for name, resource in self.resources if resource.type_url == type_url]
