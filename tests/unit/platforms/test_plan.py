"""From a mesh file to workloads, services, instances and launches."""

import pytest

from core.model.service import Health, InstanceKey, ServiceKey, WorkloadKey
from core.model.workload import AppPort, Explicit, Node, Workload, node_id, workload_of_node
from platforms.local.addresses import Allocator
from platforms.local.decode import decode
from platforms.local.plan import Launch, Plan, expand, plan

FILE = """
services:
  reviews:
    ports: ["80:8080/http", {name: grpc-api, port: 9090}, 53/udp]
    workloads:
      v1:
        command: [serve, "$(APP_IP):$(PORT)", "$(RATINGS_SERVICE_HOST)"]
        env: {NEXT: "$(PORT_GRPC_API)"}
        replicas: 2
      v2: {address: {80: "127.0.0.1:9081", 9090: "127.0.0.1:9082", 53: "127.0.0.1:9083"}, serviceAccount: canary}
  ratings: {ports: [9080]}
  far.away: {ports: [7000/tcp]}
  client:
    workloads: {any: {command: [run], env: {http_proxy: "", PORT: "1"}}}
"""

REVIEWS = ServiceKey("default", "reviews.default.svc.cluster.local")
V1, V1_2, V2 = (WorkloadKey("default", name) for name in ("reviews-v1", "reviews-v1-2", "reviews-v2"))


def planned(text: str = FILE, allocator: Allocator | None = None) -> Plan:
    file = decode(text, name="mesh.yaml").file
    assert file is not None
    return plan(file, allocator or Allocator(1))


def workload(found: Plan, key: WorkloadKey) -> Workload:
    return next(workload for workload in found.workloads if workload.key == key)


def app_ports(found: Plan, key: WorkloadKey) -> tuple[AppPort, ...]:
    capture = workload(found, key).capture
    assert isinstance(capture, Explicit)
    return capture.app_ports


def launch(found: Plan, key: WorkloadKey) -> Launch:
    return next(launch for launch in found.launches if launch.workload == key)


def test_services_without_ports_are_only_workloads() -> None:
    """A pure client is a workload but no service, and has no instance."""
    found = planned()
    assert [service.name for service in found.services] == ["reviews", "ratings", "far"]
    assert [w.key.name for w in found.workloads] == ["reviews-v1", "reviews-v1-2", "reviews-v2", "client-any"]
    assert [i.key for i in found.instances] == [InstanceKey(REVIEWS, key.name) for key in (V1, V1_2, V2)]


def test_instances_listen_on_target_ports_of_their_own_addresses() -> None:
    """Callers connect to the workload's address on the target port; health is unknown before anybody looked."""
    found = planned()
    instance = found.instances[0]
    assert (instance.address, instance.workload, instance.health) == ("127.17.0.1", V1, Health.UNKNOWN)
    assert instance.ports == (("http", 8080), ("grpc-api", 9090), ("udp", 53))
    assert str(found.instances[2].identity) == "spiffe://cluster.local/ns/default/sa/canary"


def test_the_application_is_at_its_twin_or_where_the_file_says() -> None:
    """Started applications are at the twin address, running ones where they are; UDP is not proxied."""
    found = planned()
    assert app_ports(found, V1) == (
        AppPort(8080, "127.33.0.1", 8080),
        AppPort(9090, "127.33.0.1", 9090),
    )
    assert app_ports(found, V2) == (
        AppPort(8080, "127.0.0.1", 9081),
        AppPort(9090, "127.0.0.1", 9082),
    )


def test_only_commands_are_launched_and_know_their_surroundings() -> None:
    """The variables say where to listen, where the way out is and where the others are."""
    found = planned()
    assert [launch.workload.name for launch in found.launches] == ["reviews-v1", "reviews-v1-2", "client-any"]
    env = launch(found, V1_2).environment()
    assert env["APP_IP"] == "127.33.0.2"
    assert (env["PORT"], env["PORT_HTTP"], env["PORT_GRPC_API"]) == ("8080", "8080", "9090")
    assert env["http_proxy"] == env["HTTP_PROXY"] == "http://127.17.0.2:15007"
    assert (env["RATINGS_SERVICE_HOST"], env["RATINGS_SERVICE_PORT"]) == ("127.72.8.2", "9080")
    assert (env["FAR_AWAY_SERVICE_HOST"], env["FAR_AWAY_SERVICE_PORT_TCP"]) == ("127.72.8.3", "7000")
    assert env["REVIEWS_SERVICE_PORT_HTTP"] == "80"
    assert env["no_proxy"] == "127.0.0.1,localhost,127.72.8.1,127.72.8.2,127.72.8.3"


def test_references_are_filled_in_and_the_users_variables_win() -> None:
    """`$(NAME)` is replaced in commands and variables; the file's own variables come last."""
    found = planned()
    assert launch(found, V1).command == ("serve", "127.33.0.1:8080", "127.72.0.2")
    assert launch(found, V1).environment()["NEXT"] == "9090"
    client = launch(found, WorkloadKey("default", "client-any")).environment()
    assert (client["http_proxy"], client["PORT"]) == ("", "1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("$(A)-$(A)", "1-1"), ("$(B)", "$(B)"), ("$$(A)", "$(A)"), ("$A ${A}", "$A ${A}"), ("$(A", "$(A"), ("", "")],
)
def test_expansion(text: str, expected: str) -> None:
    """Known names are replaced, unknown ones stay, `$$` escapes."""
    assert expand(text, {"A": "1"}) == expected


def test_edits_move_nobody_and_restart_nobody_else() -> None:
    """A service that joins in front changes no address, and asks no running application to restart."""
    allocator = Allocator(1)
    before = planned(FILE, allocator)
    edited = FILE.replace("services:\n", "services:\n  first: {ports: [1000], workloads: {v1: {command: [x]}}}\n")
    after = planned(edited, allocator)
    for key in (V1, V1_2, V2):
        assert workload(after, key) == workload(before, key)
    assert not launch(after, V1).needs_restart(launch(before, V1))
    assert launch(after, V1) != launch(before, V1)
    changed = planned(FILE.replace("NEXT:", "LAST:"), allocator)
    assert launch(changed, V1).needs_restart(launch(before, V1))


def test_a_node_id_leads_back_to_its_workload() -> None:
    """Who writes node ids and who reads them agree; other texts name nobody."""
    for item in planned().workloads:
        assert workload_of_node(node_id(item, "cluster.local")) == item.key
    for text in ("", "sidecar~1.2.3.4~x~y", "a~b~.c~d", Node(id="~~~").id):
        assert workload_of_node(text) is None
