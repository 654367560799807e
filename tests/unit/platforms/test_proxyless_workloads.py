"""`proxyless: true` in a mesh file: the application takes the place of its proxy."""

from core.model.workload import Proxyless
from platforms.local.addresses import Allocator
from platforms.local.codes import Code
from platforms.local.decode import decode
from platforms.local.plan import plan, unheeded

MESH = "services: {{reviews: {{ports: [9080/grpc], workloads: {{v1: {{proxyless: true, {more}}}}}}}}}"


def test_the_application_listens_where_others_call() -> None:
    """At the workload's own address, without an HTTP proxy; everybody knows that it is its own endpoint."""
    file = decode(MESH.format(more="command: [x]"), name="mesh.yaml").file
    assert file is not None
    found = plan(file, Allocator(0))
    (workload,), (instance,), (launch,), (application,) = (
        found.workloads, found.instances, found.launches, found.applications,
    )  # fmt: skip
    assert workload.capture == Proxyless(ports=(9080,))
    assert instance.proxyless
    environment = launch.environment()
    assert environment["APP_IP"] == instance.address == workload.address
    assert "http_proxy" not in environment
    assert [(port.address, port.target) for port in application.ports] == [(workload.address, 9080)]


def test_an_application_that_listens_elsewhere_cannot_be_one() -> None:
    found = decode(MESH.format(more='address: "127.0.0.1:9080"'), name="mesh.yaml")
    assert [each.code for each in found.diagnostics] == [Code.EXCLUSIVE]


def test_in_capture_redirect_it_has_no_effect_and_that_is_told() -> None:
    """Everything in a pod is led through its sidecar."""
    file = decode(MESH.format(more="command: [x]"), name="mesh.yaml").file
    (found,) = unheeded(file, "redirect")
    assert found.code == Code.NO_EFFECT
    assert "reviews/v1" in found.message
    assert list(unheeded(file, "none")) == []
