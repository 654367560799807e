"""What a ServiceEntry means, field by field."""

from collections.abc import Callable

import pytest

from core.ir.declared import Declaration, DeclaredEndpoint, DeclaredPort
from core.ir.lowered import Lowered
from core.model.config import ConfigKey, Origin
from core.model.labels import Labels
from core.model.protocol import Protocol
from core.model.service import Locality, Port, Resolution

Lower = Callable[[object], Declaration]
ORIGIN = Origin(ConfigKey("networking.istio.io", "ServiceEntry", "shop", "sample"), "spec")


@pytest.fixture
def lower(lower_spec: Callable[[str, object], Lowered]) -> Lower:
    def one(spec: object) -> Declaration:
        (only,) = lower_spec("se", spec).rules
        assert isinstance(only, Declaration)
        return only

    return one


def minimal(**more: object) -> dict[str, object]:
    spec = {"hosts": ["a.example.com"], "ports": [{"number": 80, "name": "http"}], "resolution": "STATIC"}
    return spec | more


def test_everything(lower: Lower) -> None:
    """Hosts are literal and in lower case; ports have targets; endpoints have what they say, and ones for weights."""
    spec = {
        "hosts": ["API.example.com."],
        "addresses": ["240.240.4.1"],
        "ports": [
            {"number": 80, "name": "web", "protocol": "HTTP", "targetPort": 8080},
            {"number": 9000, "name": "tcp-x"},
        ],
        "resolution": "DNS",
        "endpoints": [
            {"address": "EU.example.com", "ports": {"web": 1}, "labels": {"v": "1"}, "locality": "r/z", "weight": 3},
            {"address": "192.0.2.1"},
        ],
        "exportTo": ["."],
    }
    assert lower(spec) == Declaration(
        hosts=("api.example.com",),
        addresses=("240.240.4.1",),
        ports=(
            DeclaredPort(Port("web", 80, Protocol.HTTP), 8080),
            DeclaredPort(Port("tcp-x", 9000, Protocol.TCP), 9000),
        ),
        resolution=Resolution.DNS,
        endpoints=(
            DeclaredEndpoint(
                address="eu.example.com",
                ports=(("web", 1),),
                labels=Labels.of({"v": "1"}),
                locality=Locality("r", "z"),
                weight=3,
            ),
            DeclaredEndpoint(address="192.0.2.1"),
        ),
        visible_to=("shop",),
        created=7.0,
        origin=ORIGIN,
    )


@pytest.mark.parametrize(
    ("export_to", "namespaces"),
    [([], ("*",)), (["*"], ("*",)), (["."], ("shop",)), (["a", "b"], ("a", "b")), (["~"], ())],
)
def test_who_sees_it(lower: Lower, export_to: list[str], namespaces: tuple[str, ...]) -> None:
    """Everybody, its own namespace, some namespaces, or nobody."""
    assert lower(minimal(exportTo=export_to)).visible_to == namespaces


@pytest.mark.parametrize(
    ("port", "protocol"),
    [
        ({"number": 80, "name": "x", "protocol": "http2"}, Protocol.HTTP2),
        ({"number": 80, "name": "x", "protocol": "GRPC-Web"}, Protocol.GRPC_WEB),
        ({"number": 80, "name": "http-x", "protocol": "TCP"}, Protocol.TCP),
        ({"number": 80, "name": "grpc-x"}, Protocol.GRPC),
        ({"number": 80, "name": "x"}, Protocol.AUTO),
        ({"number": 3306, "name": "x"}, Protocol.TCP),
    ],
)
def test_protocols(lower: Lower, port: dict[str, object], protocol: Protocol) -> None:
    """The one that is declared, in any case; else the port's name decides, as for any service."""
    assert lower(minimal(ports=[port])).ports[0].port.protocol is protocol
