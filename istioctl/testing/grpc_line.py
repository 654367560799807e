"""Unary gRPC calls with gRPC's own client, through the HTTP proxy or to a virtual address. For tests only."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc

from core.simulate import Call
from istioctl.testing.reply import Reply

_PATIENCE = 5.0
_NO_BYTES = None


@contextlib.asynccontextmanager
async def channel(call: Call, address: tuple[str, int]) -> AsyncIterator[grpc.aio.Channel]:
    """A channel of its own: connections are shared with no other. "proxy" is no way in for gRPC."""
    target, entrance = f"{call.host}:{call.port}", f"{address[0]}:{address[1]}"
    options: list[tuple[str, str | int]] = [("grpc.use_local_subchannel_pool", 1)]
    if call.via == "tunnel":
        options += [("grpc.enable_http_proxy", 1), ("grpc.http_proxy", f"http://{entrance}")]
    else:
        options += [("grpc.enable_http_proxy", 0), ("grpc.default_authority", call.authority or target)]
    async with grpc.aio.insecure_channel(target if call.via == "tunnel" else entrance, options=options) as opened:
        yield opened


async def ask(opened: grpc.aio.Channel, call: Call) -> Reply:
    """One unary call with an empty message."""
    method = opened.unary_unary(call.path, request_serializer=_NO_BYTES, response_deserializer=_NO_BYTES)
    asked = method(b"", metadata=call.headers, timeout=_PATIENCE)
    body = b""
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
        body = await asked
    metadata = (*await asked.initial_metadata(), *await asked.trailing_metadata())
    headers = {str(key): str(value) for key, value in metadata}
    code, details = await asked.code(), await asked.details() or ""
    return Reply(status=200, grpc=int(code.value[0]), headers=headers, body=body or details.encode())
