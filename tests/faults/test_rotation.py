"""Certificates are replaced while calls are made: none of them may fail, on old connections or new ones.

With ISTIO_SOAK=<seconds> this runs as long as that (`make soak`: an hour).
"""

import asyncio
import os
from pathlib import Path

import pytest

from core.model.service import WorkloadKey
from core.simulate import Call
from istioctl.testing.load import lanes, load
from istioctl.testing.mesh import Manner, TestMesh, mesh

LIFETIME = 20.0
SECONDS = float(os.environ.get("ISTIO_SOAK", "60"))
RATE = 240.0
CALLER = WorkloadKey("default", "caller-v1")

pytestmark = [pytest.mark.envoy, pytest.mark.slow, pytest.mark.timeout(int(SECONDS) + 120)]

MESH = """\
services:
  caller:
    workloads:
      v1: {command: [echo]}
  web:
    ports: [80/http, 9000/tcp, 50051/grpc]
    workloads:
      v1: {command: [echo]}
      v2: {command: [echo]}
"""

STRICT = """\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
"""

CALLS = (
    Call(source=CALLER, host="web", port=80, via="virtual"),
    Call(source=CALLER, host="web", port=9000, via="virtual", protocol="tcp"),
    Call(source=CALLER, host="web", port=50051, via="virtual", protocol="grpc", path="/test.Echo/Say"),
)


async def test_no_call_fails_while_certificates_of_20_seconds_are_replaced(tmp_path: Path) -> None:
    """240 calls per second for three lives of a certificate; HTTP, TCP and gRPC, half of them on new connections."""
    (tmp_path / "mesh.yaml").write_text(MESH)
    async with mesh(
        tmp_path / "mesh.yaml", state=tmp_path / "state", manner=Manner(lifetime=LIFETIME, listener_drain=45)
    ) as running:
        await running.apply(STRICT)
        before = serials(running)
        async with load(running, lanes(CALLS, rate=RATE)) as tally:
            for _ in range(round(SECONDS / LIFETIME)):
                await asyncio.sleep(LIFETIME)
                after = serials(running)
                assert not {*before.values()} & {*after.values()}, "a certificate has outlived its time"
                before = after
        assert tally.failures == [], str(tally)
        # A machine that is busy with other things makes fewer calls in the same time; that is no fault.
        assert tally.total > 0.5 * SECONDS * RATE, f"too little load to mean anything:\n{tally}"
        for agent in running.agents.values():
            stats = await agent.admin.stats(r"^sds\..*\.(key_rotation_failed|update_rejected|update_success)$")
            assert stats, "Envoy tells nothing of its certificates"
            assert {name: count for name, count in stats.items() if not name.endswith("success") and count} == {}
            assert stats["sds.default.update_success"] > SECONDS / LIFETIME


def serials(running: TestMesh) -> dict[WorkloadKey, str]:
    """The serial number of the certificate that each proxy has now."""
    found = {key: agent.state.certificate for key, agent in running.agents.items()}
    return {key: certificate.serial for key, certificate in found.items() if certificate is not None}
