"""What is exposed of a pod is closed with it, so that whoever takes its place can be reached in the same way."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from proxy.capture.fabric import Fabric, fabric

ADDRESS, PORT = "198.18.0.1", 8080


@pytest.fixture
async def net() -> AsyncIterator[Fabric]:
    async with fabric() as found:
        yield found


async def heard(port: int) -> bytes:
    """What the place behind this port of the host says first."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await asyncio.wait_for(reader.read(100), 5)
    finally:
        writer.close()


async def says(net: Fabric, text: bytes) -> asyncio.Server:
    """Somebody in the pod who says this to whoever connects."""

    def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        writer.close()

    return await asyncio.start_server(speak, sock=await net.listening("gateway", PORT))


async def test_a_door_is_closed_with_its_pod_and_can_be_opened_again(net: Fabric) -> None:
    """At the same port of the host, three times over; in between nobody listens there."""
    taken = 0
    for text in (b"one", b"two", b"three"):
        await net.add("gateway", ADDRESS, policy=None)
        server = await says(net, text)
        with socket.create_server(("127.0.0.1", taken)) as door:
            taken = door.getsockname()[1]
            await net.expose(door, ADDRESS, PORT)
        assert await heard(taken) == text
        server.close()
        await net.remove("gateway")
        with pytest.raises(ConnectionRefusedError):
            await heard(taken)
