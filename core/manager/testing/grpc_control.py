"""Speaks to a `grpc_app`: one task, one outcome. For tests."""

import asyncio
from pathlib import Path

import msgspec

from core.manager.testing.grpc_app import Outcome, Task


async def told(control: Path, task: Task, *, within: float = 30.0) -> Outcome:
    """Waits until the application is there. Raises `TimeoutError`."""
    async with asyncio.timeout(within):
        reader, writer = await _connected(control)
        try:
            writer.write(msgspec.json.encode(task) + b"\n")
            return msgspec.json.decode(await reader.readline(), type=Outcome)
        finally:
            writer.close()


async def _connected(control: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while True:
        try:
            return await asyncio.open_unix_connection(control)
        except OSError:
            await asyncio.sleep(0.02)
