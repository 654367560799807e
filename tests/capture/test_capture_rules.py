"""Where the kernel leads connections, with real rules; stand-ins take the place of Envoy (see standin)."""

import re
from typing import TYPE_CHECKING, Any

import pytest

from proxy.capture.policy import Policy

if TYPE_CHECKING:
    Pods = Any

HERE, THERE = "198.18.0.1", "198.18.0.2"
VIRTUAL = "240.240.0.1:9080"


def ports(trail: list[Any]) -> list[Any]:
    """Where a connection was accepted, one after the other, or what went wrong."""
    return [hop["at"] if isinstance(hop, dict) else hop for hop in trail]


async def test_what_goes_out_comes_to_the_proxy(pods: "Pods") -> None:
    """With the destination it was meant for, a virtual address or another pod's."""
    await pods.up(Policy())
    for target in (VIRTUAL, f"{THERE}:9080", f"{THERE}:1"):
        assert await pods.call(pods.here, target) == [{"at": 15001, "from": HERE, "to": target}]


async def test_what_comes_in_comes_to_the_proxy_and_then_once_to_the_application(pods: "Pods") -> None:
    """The proxy's own call to the application, from 127.0.0.6, is not led back to it."""
    await pods.up(Policy())
    assert await pods.call(pods.there, f"{HERE}:9080") == [
        {"at": 15006, "from": THERE, "to": f"{HERE}:9080"},
        {"at": 9080, "from": "127.0.0.6"},
    ]


async def test_what_the_proxy_sends_goes_out_directly(pods: "Pods") -> None:
    """Otherwise it would come back to it for ever."""
    await pods.up(Policy())
    assert ports(await pods.call(pods.here, f"{THERE}:9080", **pods.kind.who)) == [9080]


async def test_a_call_to_oneself_by_a_virtual_address_passes_both_sides_of_the_proxy(pods: "Pods") -> None:
    """Out by the outbound side, which chooses this very pod, and in by the inbound side."""
    await pods.up(Policy(), routes={VIRTUAL: f"{HERE}:9080"})
    assert ports(await pods.call(pods.here, VIRTUAL)) == [15001, 15006, 9080]


@pytest.mark.parametrize("target", ["127.0.0.1:9080", f"{HERE}:9080"])
async def test_a_call_to_oneself_by_an_own_address_is_nobodys_business(pods: "Pods", target: str) -> None:
    """Localhost, and the pod's own address."""
    await pods.up(Policy())
    assert ports(await pods.call(pods.here, target)) == [9080]


async def test_the_proxys_own_ports_and_ssh_are_not_led_away(pods: "Pods") -> None:
    """Probes and scrapes reach who serves them."""
    await pods.up(Policy())
    for port in (15021, 22):
        assert ports(await pods.call(pods.there, f"{HERE}:{port}")) == [port]


async def test_ports_that_are_excluded_go_directly(pods: "Pods") -> None:
    """In both directions; the others do not."""
    await pods.up(Policy(exclude_inbound_ports=(9090,), exclude_outbound_ports=(3306,)))
    assert ports(await pods.call(pods.there, f"{HERE}:9090")) == [9090]
    assert ports(await pods.call(pods.there, f"{HERE}:9080")) == [15006, 9080]
    assert ports(await pods.call(pods.here, f"{THERE}:3306")) == [3306]
    assert ports(await pods.call(pods.here, f"{THERE}:9080")) == [15001]


async def test_ranges_that_are_excluded_go_directly(pods: "Pods") -> None:
    """An address outside of them does not."""
    await pods.up(Policy(exclude_outbound_ranges=(f"{THERE}/32",)))
    assert ports(await pods.call(pods.here, f"{THERE}:9080")) == [9080]
    assert ports(await pods.call(pods.here, VIRTUAL)) == [15001]


async def test_only_what_is_included_is_captured_where_includes_are_given(pods: "Pods") -> None:
    """Ranges, ports wherever they lead, and inbound ports."""
    included = Policy(
        include_inbound_ports=(9080,), include_outbound_ranges=("240.240.0.0/16",), include_outbound_ports=(3306,)
    )
    await pods.up(included)
    assert ports(await pods.call(pods.here, VIRTUAL)) == [15001]
    assert ports(await pods.call(pods.here, f"{THERE}:3306")) == [15001]
    assert ports(await pods.call(pods.here, f"{THERE}:9080")) == [9080]
    assert ports(await pods.call(pods.there, f"{HERE}:9080")) == [15006, 9080]
    assert ports(await pods.call(pods.there, f"{HERE}:9090")) == [9090]


async def test_interfaces_that_are_excluded_are_left_alone(pods: "Pods") -> None:
    """Nothing is captured there, in no direction."""
    await pods.up(Policy(exclude_interfaces=("eth0",)))
    assert ports(await pods.call(pods.here, f"{THERE}:9080")) == [9080]
    assert ports(await pods.call(pods.there, f"{HERE}:9080")) == [9080]
    assert await pods.ask(pods.here, "198.19.255.253:53") != "standin:who?"


async def test_dns_comes_to_the_proxy_whoever_was_asked(pods: "Pods") -> None:
    """Other datagrams do not, nor does what the proxy asks, nor anything where DNS is left alone."""
    await pods.up(Policy())
    assert await pods.ask(pods.here, "198.19.255.253:53") == "standin:who?"
    assert await pods.ask(pods.here, "127.0.0.53:53") == "standin:who?"
    assert await pods.ask(pods.here, f"{THERE}:54") == "ConnectionRefusedError"
    assert await pods.ask(pods.here, f"{THERE}:53", **pods.kind.who) == "ConnectionRefusedError"


async def test_dns_can_be_left_alone(pods: "Pods") -> None:
    """By `dns_port` 0."""
    await pods.up(Policy(dns_port=0))
    assert await pods.ask(pods.here, f"{THERE}:53") == "ConnectionRefusedError"


async def test_ipv6_is_refused_and_not_a_way_round_the_proxy(pods: "Pods") -> None:
    """Refused at once, so that programs go on to IPv4; within the pod it works."""
    await pods.up(Policy())
    assert ports(await pods.call(pods.here, "::1:7070")) == [7070]
    address, _ = await link_local(pods, pods.here), await link_local(pods, pods.there)
    assert ports(await pods.call(pods.here, f"{address}%eth0:7070")) == [7070]
    assert ports(await pods.call(pods.there, f"{address}%eth0:7070")) == ["ConnectionRefusedError"]


async def test_ipv6_can_be_left_alone(pods: "Pods") -> None:
    """For who knows what they do; this also shows that the test above can fail."""
    await pods.up(Policy(ipv6="leave"))
    address, _ = await link_local(pods, pods.here), await link_local(pods, pods.there)
    assert ports(await pods.call(pods.there, f"{address}%eth0:7070")) == [7070]


async def link_local(pods: "Pods", pod: Any) -> str:
    """The pod's address of IPv6, once the kernel has made sure that nobody else has it."""
    found = ""
    while not found:
        process = await pods.shell(pod, "ip -6 -o addr show dev eth0 scope link -tentative")
        found = process.split("inet6 ")[1].split("/")[0] if "inet6 " in process else ""
    return str(found)


async def test_tproxy_shows_the_application_who_calls(pods: "Pods") -> None:
    """The address goes through the proxy unchanged, and the proxy's call to its application does not come back."""
    await pods.up(Policy(mode="tproxy", tproxy_mark=1339), transparent=True, onward=1339)
    assert await pods.call(pods.there, f"{HERE}:9080") == [
        {"at": 15006, "from": THERE, "to": f"{HERE}:9080"},
        {"at": 9080, "from": THERE},
    ]
    assert ports(await pods.call(pods.here, VIRTUAL)) == [15001]
    assert ports(await pods.call(pods.here, f"{THERE}:9080", **pods.kind.who)) == [9080]
    assert ports(await pods.call(pods.there, f"{HERE}:15021")) == [15021]


async def test_a_call_to_oneself_passes_both_sides_with_tproxy_too(pods: "Pods") -> None:
    """By another rule than without: the packet is marked on its way out and taken in once more."""
    policy = Policy(mode="tproxy", tproxy_mark=1339)
    await pods.up(policy, transparent=True, onward=1339, routes={VIRTUAL: f"{HERE}:9080"})
    assert ports(await pods.call(pods.here, VIRTUAL)) == [15001, 15006, 9080]


async def test_with_tproxy_nobody_comes_past_a_proxy_that_is_not_there(pods: "Pods") -> None:
    """What finds no proxy is dropped: nft by itself would hand it to the application, without the proxy's checks.

    A caller that tries again, as TCP does, gets through once the proxy is back.
    """
    await pods.up(Policy(mode="tproxy", tproxy_mark=1339, inbound_port=15016), transparent=True)
    assert await pods.call(pods.there, f"{HERE}:9080", patience=0.3) == ["TimeoutError"]
    assert ports(await pods.call(pods.here, f"{HERE}:9080")) == [9080]


async def test_applying_twice_is_applying_once_and_cleaning_leaves_nothing(pods: "Pods") -> None:
    """What is in force is the last policy, whatever was before; rules of others stay."""
    await pods.up(Policy())
    backend, own = pods.kind.backend, "--proxy-uid 1337" if "uid" in pods.kind.who else "--proxy-mark 1336"
    apply = f"{pods.python} -m proxy.capture apply --backend {backend} {own}"
    foreign = "nft add table ip theirs" if backend == "nft" else "iptables -t nat -A OUTPUT -p tcp --dport 1 -j RETURN"
    await pods.shell(pods.here, foreign, apply)
    first = await rules(pods)
    await pods.shell(pods.here, apply)
    assert await rules(pods) == first
    await pods.shell(pods.here, f"{apply} --istio-inbound-interception-mode TPROXY")
    assert any("tproxy" in line.lower() for line in await rules(pods))
    assert "lookup 133" in await pods.shell(pods.here, "ip rule show")
    await pods.shell(pods.here, apply)
    assert {line for line in await rules(pods) if "ISTIO" in line} == {line for line in first if "ISTIO" in line}
    assert "lookup 133" not in await pods.shell(pods.here, "ip rule show")
    clean = f"{pods.python} -m proxy.capture clean --backend {backend}"
    await pods.shell(pods.here, clean, clean)
    left = "\n".join(await rules(pods))
    assert "istio" not in left.lower()
    assert ("theirs" if backend == "nft" else "dport 1 ") in left


async def rules(pods: "Pods") -> list[str]:
    """Everything in force in the pod, without counters, in no order: tables are listed by age."""
    said = await pods.shell(pods.here, "nft list ruleset")
    return sorted(re.sub(r"packets \d+ bytes \d+", "", line) for line in said.splitlines())
