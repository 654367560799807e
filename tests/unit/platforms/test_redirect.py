"""The local platform in capture `redirect`: pods instead of loopback, and agents who know of their applications."""

import asyncio
import json
from pathlib import Path

import pytest

from core.manager.paths import agent_socket
from core.model.service import Health, WorkloadKey
from core.model.workload import AppPort, Explicit, Interception, Redirected
from platforms.local.addresses import Allocator
from platforms.local.decode import decode
from platforms.local.mesh import open_mesh
from platforms.local.plan import Application, Plan, plan, search_domains
from platforms.local.probe import Asks, answering
from platforms.local.settings import Settings

FILE = """
services:
  reviews:
    ports: ["80:8080/http"]
    workloads:
      v1: {command: [serve, "$(APP_IP):$(PORT)", "$(RATINGS_SERVICE_HOST)"]}
      v2: {address: "127.0.0.1:9081"}
  ratings: {ports: [9080]}
"""
V1, V2 = (WorkloadKey("default", name) for name in ("reviews-v1", "reviews-v2"))


def planned() -> Plan:
    file = decode(FILE, name="mesh.yaml").file
    assert file is not None
    return plan(file, Allocator(1), capture="redirect")


def test_workloads_have_the_addresses_of_their_pods() -> None:
    """What others connect to is the pod; proxies mark what they send."""
    found = planned()
    assert [workload.address for workload in found.workloads] == ["198.18.0.1", "198.18.0.2"]
    assert [instance.address for instance in found.instances] == ["198.18.0.1", "198.18.0.2"]
    assert {workload.capture for workload in found.workloads} == {Redirected(mark=1337, resolver="198.19.255.254:5353")}
    assert [service.addresses for service in found.services] == [("240.240.0.1",), ("240.240.0.2",)]


@pytest.mark.parametrize(
    ("asked", "written", "transparent"),
    [("REDIRECT", "", False), ("TPROXY", "", True), ("REDIRECT", "TPROXY", True), ("TPROXY", "REDIRECT", False)],
)
def test_tproxy_for_all_or_for_one(asked: Interception, written: str, transparent: bool) -> None:
    """What a workload of the file says is stronger; the proxy's own mark is never that of TPROXY."""
    more = f", interception: {written}" if written else ""
    file = decode(f"services: {{a: {{ports: [80], workloads: {{v1: {{command: [x]{more}}}}}}}}}", name="m").file
    assert file is not None
    (found,) = plan(file, Allocator(1), capture="redirect", interception=asked).workloads
    assert isinstance(found.capture, Redirected)
    assert found.capture.transparent is transparent
    assert not transparent or found.capture.mark != found.capture.tproxy_mark
    (elsewhere,) = plan(file, Allocator(1), interception=asked).workloads
    assert isinstance(elsewhere.capture, Explicit)


def test_an_interception_that_there_is_not() -> None:
    """The mistake is named, with what was probably meant."""
    decoded = decode("services: {a: {workloads: {v1: {interception: TPROXI}}}}", name="m")
    assert decoded.file is None
    assert [each.fix for each in decoded.diagnostics] == ["did you mean 'TPROXY'?"]


def test_applications_are_told_what_they_are_told_in_kubernetes() -> None:
    """They listen anywhere, find services at their one virtual address, and hear of no HTTP proxy."""
    launch = planned().launches[0]
    assert launch.command == ("serve", "0.0.0.0:8080", "240.240.0.2")
    assert launch.environment() == {
        "APP_IP": "0.0.0.0",
        "PORT": "8080",
        "PORT_HTTP": "8080",
        "REVIEWS_SERVICE_HOST": "240.240.0.1",
        "REVIEWS_SERVICE_PORT": "80",
        "REVIEWS_SERVICE_PORT_HTTP": "80",
        "RATINGS_SERVICE_HOST": "240.240.0.2",
        "RATINGS_SERVICE_PORT": "9080",
        "RATINGS_SERVICE_PORT_PORT_9080": "9080",
    }


def test_applications_are_in_the_pod_or_outside() -> None:
    """What the mesh starts is in the pod; what somebody else starts stays on the host's loopback."""
    assert planned().applications == (
        Application(workload=V1, place="pod", ports=(AppPort(8080, "198.18.0.1", 8080),)),
        Application(workload=V2, place="host", ports=(AppPort(8080, "127.0.0.1", 9081),)),
    )


def test_short_names_are_looked_up_in_the_own_namespace_first() -> None:
    """As the kubelet writes it."""
    assert search_domains("shop", "cluster.local") == ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local")


class Agent:
    """Answers as an agent does; `accepting` is what it says of port 8080."""

    def __init__(self) -> None:
        self.accepting = True
        self.body: bytes | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"GET /app-health HTTP/1.1\r\n")
        body = self.body or json.dumps({"ports": [{"port": 8080, "accepting": self.accepting}]}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        writer.close()


async def test_the_health_of_an_application_in_a_pod_is_what_its_agent_says(tmp_path: Path) -> None:
    """Healthy once the agent says so, unhealthy when it says the contrary, or nothing because it is gone."""
    (tmp_path / "mesh.yaml").write_text(FILE)
    settings = Settings(
        mesh_file=tmp_path / "mesh.yaml",
        state=tmp_path / "s",
        capture="redirect",
        probe_interval=0.02,
        first_probe_interval=0.02,
    )
    agent, socket = Agent(), agent_socket(settings.state, V1)
    async with open_mesh(settings) as mesh:
        changes = mesh.registry.watch()

        async def becomes(health: Health) -> None:
            async with asyncio.timeout(5):
                async for change in changes:
                    instance = getattr(change, "instance", None)
                    if instance is not None and instance.workload == V1 and instance.health is health:
                        return

        await becomes(Health.UNKNOWN)
        socket.parent.mkdir(parents=True)
        async with await asyncio.start_unix_server(agent.serve, socket):
            await becomes(Health.HEALTHY)
            agent.accepting = False
            await becomes(Health.UNHEALTHY)
            agent.accepting = True
            await becomes(Health.HEALTHY)
        socket.unlink(missing_ok=True)
        await becomes(Health.UNHEALTHY)


@pytest.mark.parametrize("body", [b"nonsense", b'{"ports": [{"port": 1, "accepting": true}]}', b'{"ports": []}'])
async def test_an_answer_that_does_not_speak_of_the_port_is_no_health(tmp_path: Path, body: bytes) -> None:
    """Whatever else the agent says."""
    agent = Agent()
    agent.body = body
    async with await asyncio.start_unix_server(agent.serve, tmp_path / "agent.sock"):
        assert not await answering(Asks(str(tmp_path / "agent.sock"), (8080,)))
