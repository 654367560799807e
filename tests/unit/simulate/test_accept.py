"""Which chain takes a connection: by Envoy's order, without a way back."""

import pytest

from core.compiler.chains import Terms, declared
from core.ir.security import MutualTls
from core.model.protocol import Protocol
from core.model.service import Port
from core.simulate.accept import OFFERED, Connection, admits, chain_for, plain
from core.view.listener import ChainMatch, FilterChain, HttpChain, TcpChain
from core.view.route import WeightedUpstream
from core.view.security import NO_TLS, MeshServer, Terminate

TCP = TcpChain(stat_prefix="x", upstreams=(WeightedUpstream("x"),))


def taken(connection: Connection, *matches: ChainMatch) -> int | None:
    """The number of the chain."""
    chains = [FilterChain(name=str(number), match=match, serve=TCP) for number, match in enumerate(matches)]
    found = chain_for(chains, connection)
    return int(found.name) if found else None


def test_the_port_comes_before_everything_else() -> None:
    """A port that some chain names is left to these chains, whether one of them matches or not."""
    tls_at_80, rest = ChainMatch(port=80, transport="tls"), ChainMatch()
    assert taken(Connection(port=80, transport="tls"), tls_at_80, rest) == 0
    assert taken(Connection(port=80), tls_at_80, rest) is None
    assert taken(Connection(port=81), tls_at_80, rest) == 1


def test_server_names_are_exact_before_they_are_wild() -> None:
    """The longest suffix first; who names nobody is left with what is for everybody."""
    matches = [ChainMatch(server_names=names) for names in (("a.b.c",), ("*.b.c",), ("*.c",), ())]
    found = {
        name: taken(Connection(transport="tls", server_name=name), *matches) for name in ("a.b.c", "x.b.c", "x.c", "")
    }
    assert found == {"a.b.c": 0, "x.b.c": 1, "x.c": 2, "": 3}


def test_the_first_protocol_that_anybody_knows_decides() -> None:
    http, tcp = ChainMatch(protocols=("istio-http/1.1",)), ChainMatch(protocols=("istio",))
    assert taken(Connection(protocols=("istio-http/1.1", "istio")), tcp, http) == 1
    assert taken(Connection(protocols=("unknown", "istio")), tcp, http) == 0
    assert taken(Connection(protocols=("unknown",)), tcp, http) is None


@pytest.mark.parametrize("mode", ["PERMISSIVE", "DISABLE"])
@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.AUTO])
def test_tls_of_the_applications_own_is_passed_on(protocol: Protocol, mode: MutualTls) -> None:
    """Bytes are bytes, and nobody looks into them."""
    found = chain_for(
        declared(443, Port("p", 443, protocol), Terms(mode)), Connection(transport="tls", protocols=("h2",))
    )
    assert found is not None
    assert (found.security, isinstance(found.serve, TcpChain)) == (NO_TLS, True)


def test_what_proxies_say_is_inside_leads_to_who_serves_it() -> None:
    """On a port that declares nothing, under every mode with mutual TLS."""
    for mode in ("PERMISSIVE", "STRICT"):
        chains = declared(80, Port("p", 80, Protocol.AUTO), Terms(mode))
        for inside, offered in OFFERED.items():
            found = chain_for(chains, Connection(transport="tls", protocols=offered))
            assert found is not None
            assert isinstance(found.serve, HttpChain) is (inside != "tcp")
            assert isinstance(found.security, MeshServer)


@pytest.mark.parametrize(
    ("shown", "mesh", "gateway", "asking_gateway"),
    [("mesh", True, True, True), ("nobody", False, True, False), ("foreign", False, True, False)],
)
def test_who_is_admitted(shown: str, mesh: bool, gateway: bool, asking_gateway: bool) -> None:
    """A gateway asks for a certificate only where it has roots to judge one by."""
    connection = Connection(transport="tls", shown=shown)  # type: ignore[arg-type]
    securities = (MeshServer(), Terminate(secret="s"), Terminate(secret="s", roots="r"))
    found = [admits(FilterChain(security=security, serve=TCP), connection) for security in securities]
    assert found == [mesh, gateway, asking_gateway]
    assert not any(admits(FilterChain(security=security, serve=TCP), plain(http=True)) for security in securities)
