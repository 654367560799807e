"""Calls as applications make them: through the HTTP proxy, by CONNECT, to a virtual address, or knowing of nothing."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Awaitable
from typing import Protocol

import msgspec

from core.compiler.inputs import Inputs
from core.compiler.outbound import virtual_address
from core.compiler.precedence import service_for
from core.model.workload import Explicit
from core.simulate import Call
from core.simulate.request import default_port
from istioctl.testing import grpc_line
from istioctl.testing.ground import Ground
from istioctl.testing.http_line import HttpLine, parsed
from istioctl.testing.reply import CLOSED, Reply
from platforms.local.plan import Plan

_PATIENCE = 10.0
_NOT_HTTP = b"\x00hello\n"


NOBODY = "192.0.2.1"
"""What DNS says of hosts that are no service (RFC 5737)."""


class Site(Protocol):
    """A mesh that was planned; whether it runs is another matter."""

    @property
    def plan(self) -> Plan: ...
    @property
    def inputs(self) -> Inputs: ...


class Running(Site, Protocol):
    """One that runs, and where."""

    @property
    def ground(self) -> Ground: ...


def entrance(site: Site, call: Call) -> tuple[str, int]:
    """The address and port the application connects to."""
    workload = next(each for each in site.plan.workloads if each.key == call.source)
    if call.via == "gateway":
        return next((entry.address, entry.target) for entry in workload.ports if entry.port == call.port)
    if call.via == "inbound":
        return workload.address, call.port
    service = service_for(site.inputs, call.source.namespace, full_host(call))
    if call.via == "captured":
        return service.addresses[0] if service is not None and service.addresses else NOBODY, call.port
    capture = workload.capture
    assert isinstance(capture, Explicit), f"{workload.key} is redirected: call it captured"
    if call.via != "virtual":
        return workload.address, capture.http_proxy_port
    assert service is not None, f"no service {call.host}"
    assert capture.virtual_network is not None, f"{workload.key} has no virtual addresses"
    return virtual_address(capture.virtual_network, service.addresses[0]), call.port


def full_host(call: Call) -> str:
    """The full name behind a short one, as the caller's namespace has it."""
    host = call.host.lower().removesuffix(".")
    stem = host.removesuffix(".svc")
    if "." not in stem:
        return f"{stem}.{call.source.namespace}.svc.cluster.local"
    return f"{stem}.svc.cluster.local" if stem.count(".") == 1 else host


async def send(site: Running, call: Call) -> Reply:
    """Makes one call on a connection of its own."""
    return (await send_many(site, call, times=1))[0]


async def send_many(
    site: Running, call: Call, *, times: int, lines: int = 1, inside: ssl.SSLContext | None = None
) -> list[Reply]:
    """Makes `times` calls over `lines` connections at once, each kept alive; `{n}` in headers is the call's number.

    `inside`: everything goes through TLS.
    """
    way = site.ground.way(call, entrance(site, call), inside)
    async with asyncio.timeout(_PATIENCE + times / 20), way as address:
        shares = [range(start, times, lines) for start in range(min(lines, times))]
        made = await asyncio.gather(*(_line(call, address, numbers) for numbers in shares))
    return [reply for line in made for reply in line]


async def _line(call: Call, address: tuple[str, int], numbers: range) -> list[Reply]:
    if call.protocol == "grpc":
        async with grpc_line.channel(call, address) as opened:
            return [await _timed(grpc_line.ask(opened, numbered(call, n))) for n in numbers]
    if call.protocol == "tcp":
        return [await _timed(_bytes(call, address)) for _ in numbers]
    return await _http(call, address, numbers)


async def _http(call: Call, address: tuple[str, int], numbers: range) -> list[Reply]:
    """A connection that was closed, as HTTP allows, is replaced by a new one."""
    replies: list[Reply] = []
    while len(replies) < len(numbers):
        try:
            async with HttpLine(address, tunnel=_tunnel(call), sni=call.sni) as line:
                if line.refusal:
                    replies.append(line.refusal)
                while line.open and len(replies) < len(numbers):
                    replies.append(await _ask(line, numbered(call, numbers[len(replies)])))
        except ConnectionError:
            replies.append(CLOSED)
    return replies


async def _ask(line: HttpLine, call: Call) -> Reply:
    return await _timed(line.exchange(request(call)))


async def _timed(asked: Awaitable[Reply]) -> Reply:
    """A coroutine does nothing before it is awaited, so this is the time of the call."""
    started = time.monotonic()
    return msgspec.structs.replace(await asked, elapsed=time.monotonic() - started)


async def _bytes(call: Call, address: tuple[str, int]) -> Reply:
    with contextlib.suppress(ConnectionError):
        async with HttpLine(address, tunnel=_tunnel(call)) as line:
            return line.refusal or heard(await line.raw(_NOT_HTTP))
    return CLOSED


def heard(data: bytes) -> Reply:
    """What came back on a line of bytes: from an application, or from a proxy that wants HTTP."""
    if data.startswith(b"HTTP/"):
        status, headers = parsed(data.partition(b"\r\n\r\n")[0])
        return Reply(status=status, headers=headers)
    name, colon, _ = data.decode(errors="replace").partition(":")
    return Reply(status=200, headers={"x-app": name}) if colon else CLOSED


def numbered(call: Call, number: int) -> Call:
    headers = tuple((name, value.replace("{n}", str(number))) for name, value in call.headers)
    return msgspec.structs.replace(call, headers=headers)


def _tunnel(call: Call) -> str:
    return f"{call.host}:{call.port}" if call.via == "tunnel" else ""


def request(call: Call) -> bytes:
    """The head of an HTTP/1.1 request; there is no body."""
    authority = call.authority or (call.host if call.port == default_port(call) else f"{call.host}:{call.port}")
    target = f"http://{authority}{call.path}" if call.via == "proxy" else call.path
    lines = [f"{call.method} {target} HTTP/1.1", f"host: {authority}"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in call.headers), "", ""]).encode()
