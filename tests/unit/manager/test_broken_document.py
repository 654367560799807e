"""A document that brings out a bug of ours: out of force and named, and the others work on."""

import json

import pytest

from core.envoy import routes
from core.manager.pusher import BROKEN, Pusher
from core.manager.world import World
from core.manager.xds.resource import ResourceType
from core.model.change import ConfigPut, ServicePut, WorkloadPut
from core.model.config import ConfigKey, Document
from core.model.protocol import Protocol
from core.model.service import Port, Service, ServiceKey, WorkloadKey
from core.model.workload import Explicit, Workload
from core.view.route import Route

PROXY = WorkloadKey("default", "client")


def rule(name: str, timeout: str) -> ConfigPut:
    key = ConfigKey("networking.istio.io", "VirtualService", "default", name)
    routes_ = [{"name": name, "timeout": timeout, "route": [{"destination": {"host": name}}]}]
    return ConfigPut(Document(key=key, spec=json.dumps({"hosts": [name], "http": routes_}).encode()))


@pytest.fixture
def pusher() -> Pusher:
    made = Pusher(World())
    for name in ("good", "bad"):
        key = ServiceKey("default", f"{name}.default.svc.cluster.local")
        made.apply(ServicePut(Service(key=key, name=name, ports=(Port("http", 80, Protocol.HTTP),))))
    made.apply(WorkloadPut(Workload(key=PROXY, address="127.0.0.1", capture=Explicit())))
    made.groups(PROXY)
    made.settle()
    return made


def break_on(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = routes.encode_routes

    def broken(values: tuple[Route, ...]) -> bytes:
        if any(route.name == name for route in values):
            raise KeyError("planted")
        return encode(values)

    monkeypatch.setattr(routes, "encode_routes", broken)


def http_proxy(pusher: Pusher) -> bytes:
    scope, _ = pusher.groups(PROXY)
    return scope[ResourceType.ROUTES].resources["http_proxy"].wire()


def test_a_document_that_cannot_be_compiled_is_taken_out_and_named(
    pusher: Pusher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other rules go on taking effect, and the document says what happened until it changes."""
    break_on("bad", monkeypatch)
    put = rule("bad", "3s")
    pusher.apply(put)
    before = http_proxy(pusher)
    pusher.settle()
    assert [d.code for d in pusher.diagnostics(put.document.key)] == [BROKEN]
    assert http_proxy(pusher) == before
    pusher.apply(rule("good", "5s"))
    assert pusher.settle()
    assert http_proxy(pusher) != before


def test_it_is_tried_again_when_it_changes(pusher: Pusher, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new version of the document gets a new chance."""
    with monkeypatch.context() as patched:
        break_on("bad", patched)
        pusher.apply(rule("bad", "3s"))
        pusher.settle()
    before = http_proxy(pusher)
    put = rule("bad", "4s")
    pusher.apply(put)
    pusher.settle()
    assert pusher.diagnostics(put.document.key) == ()
    assert http_proxy(pusher) != before


def test_a_failure_that_no_document_brought_ends_the_manager(pusher: Pusher, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong with us and not with somebody's configuration must not be passed over."""
    break_on("default", monkeypatch)
    key = ServiceKey("default", "new.default.svc.cluster.local")
    pusher.apply(ServicePut(Service(key=key, name="new", ports=(Port("http", 80, Protocol.HTTP),))))
    with pytest.raises(KeyError, match="planted"):
        pusher.settle()
