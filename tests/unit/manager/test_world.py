"""The World: its indexes say what its tables say, and a document can go back to what was good."""

import msgspec
import pytest

from core.compiler.inputs import ANY_PORT, HTTP_PORT
from core.kinds import meshconfig
from core.manager.testing.facts import change, document, instance, service, service_key, workload, workload_key
from core.manager.world import World
from core.model.change import ConfigGone, InstanceGone, ServiceGone, Synced, WorkloadGone
from core.model.config import ConfigKey, Document
from core.model.mesh import Mesh, OutboundMode

WEB = "web.default.svc.cluster.local"


@pytest.fixture
def world() -> World:
    return World()


def tell(world: World, *facts: object) -> None:
    for fact in facts:
        world.apply(change(fact))  # type: ignore[arg-type]


def rule(host: str = "web", *, timeout: str = "1s", name: str = "r", **match: object) -> Document:
    route: dict[str, object] = {"timeout": timeout, "route": [{"destination": {"host": "web"}}]}
    return document("VirtualService", name, {"hosts": [host], "http": [route | ({"match": [match]} if match else {})]})


def policy(host: str = "web", *, name: str = "p", connections: int = 1) -> Document:
    pool = {"connectionPool": {"tcp": {"maxConnections": connections}}}
    return document("DestinationRule", name, {"host": host, "trafficPolicy": pool})


def hosts(world: World, port: int) -> set[str]:
    return set(world.inputs.http_hosts.below((port,)))


# -- indexes -----------------------------------------------------------------------------------------------------------


def test_a_service_is_found_by_all_its_names(world: World) -> None:
    """By host, alias and address; names it loses lead to it no more."""
    tell(world, service("web", addresses=["240.240.0.1"], aliases=["Web.example.com"]))
    for name in (WEB, "240.240.0.1", "web.example.com"):
        assert world.inputs.services_by_host.get(name) == (service_key("web"),)
    tell(world, service("web"))
    assert set(world.inputs.services_by_host.keys()) == {WEB}
    world.apply(ServiceGone(service_key("web")))
    assert not world.inputs.services_by_host.keys()


def test_hosts_are_listed_on_the_ports_where_they_may_speak_http(world: World) -> None:
    """By declaration or undeclared; the forward proxy lists all. A port that changes moves the host."""
    tell(world, service("web", "80/http", "9000/tcp", "7000"))
    assert {port: hosts(world, port) for port in (ANY_PORT, 80, 7000, 9000)} == {
        ANY_PORT: {WEB}, 80: {WEB}, 7000: {WEB}, 9000: set()
    }  # fmt: skip
    assert set(world.http_ports) == {80}
    tell(world, service("web", "8080/grpc"))
    assert (hosts(world, 80), hosts(world, 8080), set(world.http_ports)) == (set(), {WEB}, {8080})
    world.apply(ServiceGone(service_key("web")))
    assert (hosts(world, ANY_PORT), set(world.http_ports)) == (set(), set())


def test_a_host_stays_as_long_as_somebody_claims_it(world: World) -> None:
    """A service and a rule of one host, and the same host in two namespaces: the last one to go takes it along."""
    one, other = service("n1/api.example.com"), service("n2/api.example.com")
    tell(world, one, other, rule("api.example.com"))
    for gone in (ServiceGone(one.key), ConfigGone(rule().key)):
        world.apply(gone)
        assert hosts(world, HTTP_PORT) == {"api.example.com"}
    world.apply(ServiceGone(other.key))
    assert hosts(world, HTTP_PORT) == hosts(world, ANY_PORT) == set()


def test_hosts_of_rules_are_served_on_port_80(world: World) -> None:
    """A rule makes port 80 one where HTTP is spoken, also in a mesh without such a service."""
    tell(world, rule("www.example.org"))
    assert set(world.http_ports) == {HTTP_PORT}
    tell(world, rule("www.example.net"))
    assert hosts(world, HTTP_PORT) == {"www.example.net"}
    world.apply(ConfigGone(rule().key))
    assert set(world.http_ports) == set()


def test_instances_are_found_by_service_and_workload(world: World) -> None:
    """An instance that changes hands leaves the old workload."""
    tell(world, instance("web", "10.0.0.1", workload="a"))
    found = instance("web", "10.0.0.1").key
    assert world.inputs.instances_by_service.get(service_key("web")) == (found,)
    assert world.inputs.instances_by_workload.get(workload_key("a")) == (found,)
    tell(world, instance("web", "10.0.0.1", workload="b"))
    assert world.inputs.instances_by_workload.get(workload_key("a")) == ()
    assert world.inputs.instances_by_workload.get(workload_key("b")) == (found,)
    world.apply(InstanceGone(found))
    assert not world.inputs.instances_by_workload.keys() | world.inputs.instances_by_service.keys()


def test_rules_are_found_by_their_hosts_and_policies_by_theirs(world: World) -> None:
    """Whatever a document said before is forgotten."""
    tell(world, rule("web"), policy("web"))
    tell(world, rule("*.example.com"), policy("*.example.com"))
    assert set(world.inputs.route_rules_by_host.keys()) == {"*.example.com"}
    assert set(world.inputs.policies_by_host.keys()) == {"*.example.com"}
    world.apply(ConfigGone(rule().key))
    world.apply(ConfigGone(policy().key))
    assert not world.inputs.route_rules_by_host.keys() | world.inputs.policies_by_host.keys()


def test_labels_that_rules_ask_for_are_counted(world: World) -> None:
    """A label is of interest as long as one rule asks for it."""
    tell(world, rule(sourceLabels={"version": "v1"}), rule("pay", name="other", sourceLabels={"version": "v2"}))
    world.apply(ConfigGone(rule().key))
    assert set(world.label_names) == {"version"}
    tell(world, rule("pay", name="other"))
    assert set(world.label_names) == set()


def test_what_is_unknown_may_go(world: World) -> None:
    """Removing what never was, and `Synced`, change nothing."""
    for gone in (
        ServiceGone(service_key("web")),
        InstanceGone(instance("web", "10.0.0.1").key),
        WorkloadGone(workload("a").key),
        ConfigGone(rule().key),
        ConfigGone(meshconfig.KEY),
        Synced(),
    ):
        world.apply(gone)
    assert not world.documents
    assert not world.inputs.services.keys()


# -- documents ---------------------------------------------------------------------------------------------------------


def timeout(world: World, key: ConfigKey) -> int | None:
    """Of the rule in force, in seconds."""
    found = world.inputs.route_rules.get(key)
    return None if found is None else found.http[0].action.timeout // 1000  # type: ignore[union-attr,operator]


def prove(world: World) -> None:
    """All proxies have what is in force now."""
    world.settled(1)
    world.prove(1)


def test_a_document_with_an_error_is_not_in_force(world: World) -> None:
    """It has a finding and no rules, even where it had some before."""
    tell(world, rule(timeout="3s"))
    tell(world, rule(timeout="soon"))
    assert timeout(world, rule().key) is None
    assert [found.code for found in world.diagnostics[rule().key]] == ["IST0106"]
    world.apply(ConfigGone(rule().key))
    assert not world.diagnostics


def test_documents_of_unknown_kinds_do_no_harm(world: World) -> None:
    """They are told so."""
    stranger = msgspec.structs.replace(rule(), key=ConfigKey("example.com", "Thing", "default", "x"))
    tell(world, stranger)
    assert [found.code for found in world.diagnostics[stranger.key]] == ["MSH0004"]


def test_a_reverted_document_is_what_it_was_when_that_was_proved(world: World) -> None:
    """Not a version in between, of which nobody knows whether it was good."""
    tell(world, rule(timeout="1s"))
    prove(world)
    tell(world, rule(timeout="2s"))
    tell(world, rule(timeout="3s"))
    world.revert(rule().key)
    assert timeout(world, rule().key) == 1
    world.revert(rule().key)
    assert timeout(world, rule().key) == 1
    world.restore(rule().key)
    assert timeout(world, rule().key) == 3


def test_what_is_proved_is_what_proxies_have_while_newer_versions_are_on_their_way() -> None:
    """The proof of a version that was settled is good also after the document has changed again."""
    world = World()
    for generation in (1, 2, 3):
        tell(world, rule(timeout=f"{generation}s"))
        world.settled(generation)
    tell(world, rule(timeout="4s"))
    world.prove(2)
    assert world.unproved
    world.revert(rule().key)
    assert timeout(world, rule().key) == 2
    # What came after that was refused with it, or never seen alone: no later proof makes it good.
    world.prove(3)
    world.restore(rule().key)
    world.revert(rule().key)
    assert timeout(world, rule().key) == 2


def test_a_proof_ends_the_uncertainty() -> None:
    """Once all proxies have the newest version, nothing is kept of the older ones."""
    world = World()
    tell(world, rule())
    world.settled(1)
    world.prove(0)
    assert world.unproved
    world.prove(1)
    assert not world.unproved


def test_a_new_document_is_reverted_to_nothing(world: World) -> None:
    """So is one that was proved and is refused nevertheless."""
    tell(world, rule(), policy())
    for key in (rule().key, policy().key):
        world.revert(key)
    assert not world.inputs.route_rules.keys() | world.inputs.policies.keys()
    tell(world, rule(timeout="2s"))
    prove(world)
    world.revert(rule().key)
    assert timeout(world, rule().key) is None


def test_a_proof_says_nothing_of_documents_that_are_out_of_force(world: World) -> None:
    """A reverted document that changes, is refused again and reverted again is what it was before all that."""
    tell(world, rule(timeout="1s"))
    prove(world)
    tell(world, rule(timeout="2s"))
    world.revert(rule().key)
    prove(world)
    tell(world, rule(timeout="3s"))
    assert timeout(world, rule().key) == 3
    world.revert(rule().key)
    assert timeout(world, rule().key) == 1


def test_a_deleted_document_is_not_restored(world: World) -> None:
    """And one that is written anew starts with a clean record."""
    tell(world, rule(timeout="1s"))
    prove(world)
    tell(world, rule(timeout="2s"))
    world.revert(rule().key)
    world.apply(ConfigGone(rule().key))
    world.restore(rule().key)
    assert timeout(world, rule().key) is None
    tell(world, rule(timeout="4s"))
    world.revert(rule().key)
    assert timeout(world, rule().key) is None


# -- settings of the mesh ----------------------------------------------------------------------------------------------


def config(**spec: object) -> Document:
    return Document(key=meshconfig.KEY, version="v1alpha1", spec=msgspec.json.encode(spec))


def test_settings_of_the_mesh_come_and_go(world: World) -> None:
    """A wrong document keeps the settings in force and has a finding; without a document the defaults hold."""
    tell(world, config(outboundTrafficPolicy={"mode": "REGISTRY_ONLY"}))
    assert world.mesh().outbound is OutboundMode.REGISTRY_ONLY
    tell(world, config(connectTimeout="soon"))
    assert world.mesh().outbound is OutboundMode.REGISTRY_ONLY
    assert world.diagnostics[meshconfig.KEY]
    world.apply(ConfigGone(meshconfig.KEY))
    assert world.mesh() == Mesh()
    assert not world.diagnostics


def test_documents_are_read_in_the_light_of_the_settings(world: World) -> None:
    """Another domain suffix: a short host means another service from then on."""
    tell(world, rule("web"), config(domainSuffix="corp.example"))
    assert set(world.inputs.route_rules_by_host.keys()) == {"web.default.svc.corp.example"}
