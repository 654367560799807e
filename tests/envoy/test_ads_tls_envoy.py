"""The real Envoy over mutual TLS: it comes back with its newest certificate, and nothing is refused on the way."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from core.manager.ca.testing import identity, issued
from core.manager.container import ManagerContainer
from core.manager.process import serving
from core.manager.settings import Settings
from core.manager.testing.facts import service, workload
from core.model.workload import node_id
from platforms.memory import MemoryPlatform
from proxy import binary

pytestmark = pytest.mark.envoy

LIFE = 6.0
"""Seconds of a certificate."""

SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
HTTP = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
MANAGER = "spiffe://cluster.local/ns/istio-system/sa/istiod"


class Sidecar:
    """An Envoy in `home`, with secrets in files that are replaced by renaming."""

    def __init__(self, home: Path, container: ManagerContainer) -> None:
        self._home = home
        self._container = container
        (home / "certs").mkdir()
        self.renew()
        (home / "envoy.json").write_text(json.dumps(self._bootstrap()))

    def renew(self) -> None:
        authority = self._container.authority()
        chain, key = issued(identity(), authority)
        pair = {"certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": key}}
        self._write("default", {"tls_certificate": pair})
        self._write("ROOTCA", {"validation_context": {"trusted_ca": {"inline_string": authority.roots}}})

    def _write(self, name: str, secret: dict[str, object]) -> None:
        draft = self._home / "certs" / f".{name}"
        draft.write_text(json.dumps({"resources": [{"@type": SECRET, "name": name, **secret}]}))
        draft.rename(self._home / "certs" / f"{name}.json")

    def _secret(self, name: str) -> dict[str, object]:
        source = {"path": f"certs/{name}.json", "watched_directory": {"path": "certs"}}
        return {"name": name, "sds_config": {"path_config_source": source, "resource_api_version": "V3"}}

    def _bootstrap(self) -> dict[str, object]:
        manager = {"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": MANAGER}}]}
        tls = {
            "alpn_protocols": ["h2"],
            "tls_certificate_sds_secret_configs": [self._secret("default")],
            "combined_validation_context": {
                "default_validation_context": manager,
                "validation_context_sds_secret_config": self._secret("ROOTCA"),
            },
        }
        address = {"socket_address": {"address": "127.0.0.1", "port_value": self._container.doors().ports.xds}}
        cluster = {
            "name": "xds",
            "type": "STATIC",
            "load_assignment": {
                "cluster_name": "xds",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": HTTP,
                    "explicit_http_config": {"http2_protocol_options": {}},
                }
            },
            "transport_socket": {"name": "tls", "typed_config": {"@type": TLS, "common_tls_context": tls}},
        }
        ads = {"ads": {}, "resource_api_version": "V3"}
        return {
            "node": {"id": node_id(workload("a"), "cluster.local"), "cluster": "a"},
            "admin": {"address": {"pipe": {"path": "admin"}}},
            "dynamic_resources": {
                "ads_config": {
                    "api_type": "DELTA_GRPC",
                    "transport_api_version": "V3",
                    "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
                },
                "cds_config": ads,
            },
            "static_resources": {"clusters": [cluster]},
        }

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Sidecar"]:
        envoy = await asyncio.to_thread(binary.find, "")
        options = ("-c", "envoy.json", "--use-dynamic-base-id", "--concurrency", "1", "-l", "error")
        process = await asyncio.create_subprocess_exec(str(envoy.path), *options, cwd=self._home)
        try:
            yield self
        finally:
            process.terminate()
            await process.wait()

    async def stat(self, name: str) -> int:
        transport = httpx.AsyncHTTPTransport(uds=str(self._home / "admin"))
        async with httpx.AsyncClient(transport=transport, base_url="http://envoy") as client:
            found = (await client.get(f"/stats?filter=^{name}$")).text.strip()
        return int(found.rpartition(" ")[2]) if found else 0


async def until(is_so: Callable[[], bool], *, within: float) -> None:
    deadline = time.monotonic() + within
    while not is_so():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_envoy_comes_back_with_its_newest_certificate(tmp_path: Path) -> None:
    """Three certificates long: each stream ends with its certificate, the next one is there within a second.

    Every handshake succeeds, and a service that appears after all that reaches the proxy.
    """
    platform = MemoryPlatform()
    platform.registry.put(workload("a"))
    settings = Settings(state=tmp_path / "state", xds_listen="127.0.0.1:0", certificate_lifetime=LIFE)
    (tmp_path / "envoy").mkdir()
    async with serving(settings, platform.record) as container:
        sidecar = Sidecar(tmp_path / "envoy", container)
        streams = container.server().streams
        async with sidecar.running():
            await until(lambda: bool(streams()), within=15)
            seen, down, begun, renewed = set(streams()), 0.0, time.monotonic(), time.monotonic()
            while time.monotonic() - begun < 2.5 * LIFE:
                if time.monotonic() - renewed > LIFE / 2:
                    sidecar.renew()
                    renewed = time.monotonic()
                seen |= streams()
                before = time.monotonic()
                await asyncio.sleep(0.02)
                down = 0.0 if streams() else down + time.monotonic() - before
                assert down < 3, "the proxy does not come back"
            assert len(seen) >= 3
            assert await sidecar.stat("cluster.xds.ssl.handshake") >= 3
            for failure in ("upstream_cx_connect_fail", "ssl.connection_error", "ssl.fail_verify_error"):
                assert await sidecar.stat(f"cluster.xds.{failure}") == 0
            assert await sidecar.stat(".*key_rotation_failed") == 0
            updates = await sidecar.stat("cluster_manager.cds.update_success")
            platform.registry.put(service("late"))
            deadline = time.monotonic() + 5
            while await sidecar.stat("cluster_manager.cds.update_success") == updates:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
