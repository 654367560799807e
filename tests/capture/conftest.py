"""Pods with the rules under test, stand-ins that show where connections come out, and calls made in there."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from proxy.capture.apply import Backend
from proxy.capture.fabric import Fabric, Pod, fabric
from proxy.capture.policy import ByMark, ByUser, Owner, Policy
from proxy.capture.wire import Network

STANDIN = str(Path(__file__).with_name("standin.py"))
HERE, THERE = "198.18.0.1", "198.18.0.2"

Json = dict[str, object]
Hop = Json | str


class Kind(msgspec.Struct, frozen=True):
    """Who writes the rules, and how the proxy is told from its application."""

    backend: Backend
    owner: Owner

    @property
    def who(self) -> Json:
        """What makes a stand-in the proxy."""
        return {"uid": self.owner.uid} if isinstance(self.owner, ByUser) else {"mark": self.owner.mark}

    def __str__(self) -> str:
        return f"{self.backend}-{type(self.owner).__name__}"


BACKENDS: tuple[Backend, ...] = ("nft", "iptables")
KINDS = [Kind(backend, owner) for backend in BACKENDS for owner in (ByMark(1337), ByUser(1337))]


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    """An ordinary user has one user in a namespace; a proxy with a user of its own needs two: that half needs root."""
    found: Kind = request.param
    if isinstance(found.owner, ByUser) and os.getuid() != 0:
        if "CI" in os.environ:
            pytest.fail("CI runs these tests as root")
        pytest.skip("needs root")
    return found


class Pods:
    """Two pods: `here` with rules and a stand-in, `there` with applications and no rules."""

    def __init__(self, net: Fabric, kind: Kind, stack: contextlib.AsyncExitStack) -> None:
        self.net = net
        self.kind = kind
        self._stack = stack
        self.here: Pod
        self.there: Pod

    async def up(self, policy: Policy, **spec: object) -> None:
        own = msgspec.structs.replace(policy, proxy=self.kind.owner)
        self.here, self.there = await asyncio.gather(
            self.net.add("here", HERE, policy=own), self.net.add("there", THERE, policy=None)
        )
        proxy = [["0.0.0.0", port] for port in (15001, 15006, 15021)]
        await self.serve(self.here, {**self.kind.who, "listen": proxy, "names": 15053, **spec})
        application = [["0.0.0.0", port] for port in (9080, 9090, 22)]
        await self.serve(self.here, {"listen": [*application, ["::", 7070]]})
        await self.serve(self.there, {"listen": [["0.0.0.0", port] for port in (9080, 9090, 3306)]})

    async def serve(self, pod: Pod, spec: Json) -> None:
        process = await run(pod, "serve", spec)
        self._stack.callback(process.kill)
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 5) == b"ready\n"

    async def call(self, pod: Pod, target: str, **spec: object) -> list[Hop]:
        """The trail of a connection made in this pod."""
        found: list[Hop] = await output(pod, "call", {"target": target, **spec})
        return found

    python = sys.executable

    async def shell(self, pod: Pod, *lines: str) -> str:
        """What these commands print; all have to succeed."""
        words = (*pod.enter, "sh", "-ec", "PATH=$PATH:/usr/sbin:/sbin\n" + "\n".join(lines))
        process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
        said, _ = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 0, said
        return said.decode()

    async def ask(self, pod: Pod, target: str, **spec: object) -> str:
        """What a datagram is answered with."""
        return str(await output(pod, "ask", {"target": target, **spec}))


async def run(pod: Pod, action: str, spec: Json) -> asyncio.subprocess.Process:
    words = (*pod.enter, sys.executable, "-I", "-S", STANDIN, action, json.dumps(spec))
    return await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)


async def output(pod: Pod, action: str, spec: Json) -> list[Hop]:
    process = await run(pod, action, spec)
    said, _ = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0
    found: list[Hop] = json.loads(said)
    return found


@pytest.fixture
async def pods(kind: Kind) -> AsyncIterator[Pods]:
    network = Network(backend=kind.backend, own_user=isinstance(kind.owner, ByMark))
    async with fabric(network) as net, contextlib.AsyncExitStack() as stack:
        yield Pods(net, kind, stack)
