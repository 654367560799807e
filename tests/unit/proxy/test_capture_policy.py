"""Rules of capture as text: Istio's chains in Istio's order; and policies that cannot be meant. No kernel here."""

import pytest

from core.errors import Misconfigured
from core.model.labels import NO_LABELS
from core.model.mesh import Mesh
from core.model.service import WorkloadKey
from core.model.workload import Redirected, Workload
from proxy.bootstrap import bootstrap
from proxy.capture import apply
from proxy.capture.__main__ import main
from proxy.capture.policy import ByMark, Policy, checked

OUTPUT = """\
-A ISTIO_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN
-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -p tcp -j ISTIO_REDIRECT"""


def test_the_outbound_rules_are_istios_in_its_order() -> None:
    """Each of them only works behind those above it."""
    lines = apply.text(Policy(), "iptables").splitlines()
    nat = lines[: lines.index("COMMIT")]
    assert "\n".join(line for line in nat if line.startswith("-A ISTIO_OUTPUT ")) == OUTPUT


@pytest.mark.parametrize("backend", ["iptables", "nft"])
def test_with_tproxy_what_is_excluded_comes_first_and_what_finds_no_proxy_is_dropped(backend: apply.Backend) -> None:
    """Also where nothing is included: packets of SSH are never marked."""
    lines = apply.text(Policy(mode="tproxy", include_inbound_ports=()), backend).splitlines()
    chain = [line for line in lines if "ISTIO_INBOUND " in line and ("-A" in line or "add rule ip " in line)]
    ours = [line for line in chain if "filter" not in line]
    ssh, divert = (next(n for n, line in enumerate(ours) if text in line) for text in ("dport 22 ", "ISTIO_DIVERT"))
    assert ssh < divert
    taken = [line for line in lines if "ISTIO_TPROXY " in line]
    assert [line.split()[-1].lower() for line in taken[-2:]] == [
        "accept" if backend == "nft" else "1337/0xffffffff",
        "drop",
    ]


def test_printing_needs_no_rights_and_no_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    """Options are those of istio-iptables, and both languages say the same."""
    options = ("--istio-local-outbound-ports-exclude", "3306,27017", "--proxy-mark", "7")
    assert main(["print", "--backend", "iptables", *options]) == 0
    assert main(["print", "--backend", "nft", *options]) == 0
    printed = capsys.readouterr().out
    assert "-A ISTIO_OUTPUT -p tcp --dport 3306 -j RETURN" in printed
    assert "ISTIO_OUTPUT meta l4proto tcp th dport 27017 return" in printed
    assert "meta mark != 7" in printed


@pytest.mark.parametrize(
    "policy",
    [
        Policy(exclude_outbound_ports=(0,)),
        Policy(include_inbound_ports=(70000,)),
        Policy(exclude_outbound_ranges=("10.0.0.1/8",)),
        Policy(include_outbound_ranges=("web",)),
        Policy(exclude_interfaces=("eth0; drop",)),
        Policy(mode="tproxy", proxy=ByMark(1337)),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(policy: Policy) -> None:
    """Before anything of it is in force, and without a chance to smuggle in rules of one's own."""
    with pytest.raises(Misconfigured):
        checked(policy)


def test_a_proxy_in_a_pod_marks_what_it_sends_and_asks_the_resolver_it_was_given() -> None:
    """Without the one its connections would be led back to it, without the other its queries."""
    key = WorkloadKey("default", "web")
    capture = Redirected(mark=1337, resolver="198.19.255.254:5353")
    workload = Workload(key=key, address="198.18.0.1", labels=NO_LABELS, capture=capture)
    found = str(bootstrap(workload, mesh=Mesh(), xds=("/x",), admin_socket="/a"))
    assert "'cluster_manager': {'upstream_bind_config': {'socket_options': [{'level': 1, 'name': 36" in found
    assert "'address': '198.19.255.254', 'port_value': 5353" in found
