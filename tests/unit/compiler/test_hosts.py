"""Virtual hosts and clusters of odd services: aliases, IPv6, shared names, hosts that only rules know."""

from core.compiler.precedence import service_for
from core.compiler.view import ProxyView
from core.manager.testing.facts import Plane, document, instance, service, workload, workload_key
from core.view.route import ForwardTo, RouteConfiguration, VirtualHost


def view(plane: Plane, name: str = "a") -> ProxyView:
    return ProxyView(plane.world.inputs, workload_key(name))


def routes(plane: Plane, configuration: str = "http_proxy") -> RouteConfiguration:
    found = view(plane).routes(configuration)
    assert found is not None
    return found


def virtual_host(plane: Plane, name: str, configuration: str = "http_proxy") -> VirtualHost:
    return next(host for host in routes(plane, configuration).virtual_hosts if host.name == name)


def targets(host: VirtualHost) -> set[str]:
    actions = [route.action for route in host.routes if isinstance(route.action, ForwardTo)]
    return {share.upstream for action in actions for share in action.upstreams}


def to(host: str, **more: object) -> dict[str, object]:
    return {"route": [{"destination": {"host": host, **more}}]}


def test_names_in_another_case_are_the_same_name() -> None:
    """Two services with one alias, written differently: the older one has it, and no domain stands twice."""
    plane = Plane(
        workload("a"),
        service("old", aliases=["Alias.example.com"], created=1),
        service("new", aliases=["alias.EXAMPLE.com"], created=2),
    )
    domains = [domain for host in routes(plane, "80").virtual_hosts for domain in host.domains]
    assert domains.count("alias.example.com") == 1
    assert "alias.example.com" in virtual_host(plane, "old.default.svc.cluster.local:80", "80").domains


def test_a_rule_may_name_a_destination_by_an_alias() -> None:
    """The traffic goes to the service's cluster, subsets included, and nothing is said to dangle."""
    rule = document("VirtualService", "r", {"hosts": ["front"], "http": [to("pay.example.com", subset="v1")]})
    policy = document("DestinationRule", "p", {"host": "pay", "subsets": [{"name": "v1", "labels": {"version": "v1"}}]})
    paying = instance("pay", "10.0.0.1", labels={"version": "v1"})
    plane = Plane(workload("a"), service("front"), service("pay", aliases=["pay.example.com"]), paying, policy, rule)
    upstream = "outbound|80|v1|pay.default.svc.cluster.local"
    assert targets(virtual_host(plane, "front.default.svc.cluster.local:80", "80")) == {upstream}
    assert upstream in view(plane).upstreams()
    assert plane.pusher.diagnostics(rule.key) == ()


def test_a_policy_for_an_alias_is_said_to_have_no_effect() -> None:
    """A DestinationRule goes by the service's own host; the finding names it."""
    policy = document("DestinationRule", "p", {"host": "pay.example.com"})
    plane = Plane(service("pay", aliases=["pay.example.com"]), policy)
    plane.pusher.settle()
    (found,) = plane.pusher.diagnostics(policy.key)
    assert (found.code, found.fix) == ("IST0174", "write host: pay.default.svc.cluster.local")


def test_ipv6_addresses_stand_in_brackets_and_get_no_virtual_listener() -> None:
    """The networks of workloads are IPv4: a service gets a virtual address by its first IPv4 address, or none."""
    both = service("both", addresses=["2001:DB8::7", "240.240.0.7"])
    plane = Plane(workload("a", virtual="127.64.0.0/21"), both, service("six", addresses=["2001:db8::8"]))
    domains = virtual_host(plane, "both.default.svc.cluster.local:80", "80").domains
    assert {"[2001:db8::7]", "[2001:db8::7]:80", "240.240.0.7", "240.240.0.7:80"} <= set(domains)
    names = [listener.name for listener in view(plane).listeners()]
    assert "127.64.0.7_80" in names
    assert not [name for name in names if name.startswith("127.64.") and name != "127.64.0.7_80"]


def test_a_virtual_address_of_two_services_is_the_older_ones() -> None:
    """One listener, not two on one address."""
    shared = ["240.240.0.9"]
    plane = Plane(
        workload("a", virtual="127.64.0.0/21"),
        service("new", addresses=shared, created=2),
        service("old", addresses=shared, created=1),
    )
    found = [listener for listener in view(plane).listeners() if listener.name == "127.64.0.9_80"]
    assert len(found) == 1
    assert "old.default" in str(found[0].chains)


def test_a_host_that_only_a_rule_knows_can_be_called_through_a_tunnel() -> None:
    """Also where no service speaks HTTP on port 80: the tunnel has its cluster and its listener."""
    rule = document("VirtualService", "r", {"hosts": ["www.example.org"], "http": [to("web", port={"number": 9000})]})
    plane = Plane(workload("a"), service("web", "9000/http"), rule)
    assert targets(virtual_host(plane, "www.example.org:80")) == {"outbound|9000||web.default.svc.cluster.local"}
    assert "internal|80||" in view(plane).upstreams()
    assert "0.0.0.0_80" in [listener.name for listener in view(plane).listeners()]
    plane.connected("a")
    names = {
        name
        for group in plane.pusher.groups(workload_key("a"))
        for log in group.logs.values()
        for name in log.resources
    }
    assert {"internal|80||", "0.0.0.0_80", "80"} <= names


def test_a_services_own_host_comes_before_an_alias_of_another() -> None:
    """However old the other one is; what has the alias is found by its own host."""
    own, other = service("web", created=2.0), service("old", aliases=["web.default.svc.cluster.local"], created=1.0)
    inputs = Plane(own, other).world.inputs
    assert service_for(inputs, "default", own.key.host) == own
    assert service_for(inputs, "default", other.key.host) == other


def test_who_is_hidden_is_not_found_by_an_alias_either() -> None:
    """Two services of one host: to callers who get the one, an alias of the other is nobody."""
    shown = service("n1/www.example.com", created=1.0)
    hidden = service("n2/www.example.com", aliases=["shop.example.com"], created=2.0)
    inputs = Plane(shown, hidden).world.inputs
    assert service_for(inputs, "n1", "shop.example.com") is None
    assert service_for(inputs, "n2", "shop.example.com") == hidden
