"""Gateways and secrets of a mesh file: decoded with every mistake, planned, and read again when files change."""

import socket
from pathlib import Path

import pytest

from core.errors import Misconfigured
from core.model.labels import Labels
from core.model.secret import SecretKey
from core.model.service import WorkloadKey
from core.model.workload import EntryPort, node_id
from istioctl.testing.certificates import made
from platforms.local.addresses import Allocator
from platforms.local.decode import decode
from platforms.local.free_ports import free_port
from platforms.local.ledger import Ledger
from platforms.local.meshfile import GatewaySpec, SecretSpec
from platforms.local.plan import plan
from platforms.local.secrets import FileSecrets

SPEC = SecretSpec(name="web", namespace="default", certificate="web.crt", key="web.key")


def file(text: str) -> tuple[tuple[GatewaySpec, ...], tuple[SecretSpec, ...]]:
    decoded = decode(f"services: {{}}\n{text}", name="mesh.yaml")
    assert decoded.file is not None, decoded.diagnostics
    return decoded.file.gateways, decoded.file.secrets


def mistakes(text: str) -> list[tuple[str, int]]:
    return [(each.code, each.place.line) for each in decode(text, name="m").diagnostics if each.place]


def test_what_a_gateway_is() -> None:
    """Its ports, the usual label, and what else the file says."""
    (plain, full), _ = file("""
gateways:
  ingress: {ports: {80: 8080, 443: auto}}
  edge.shop: {ports: {80: }, labels: {istio: edge, team: web}, serviceAccount: edge}
""")
    labels = Labels.of({"istio": "ingressgateway"})
    assert plain == GatewaySpec(name="ingress", namespace="default", ports=((80, 8080), (443, None)), labels=labels)
    assert (full.key, full.service_account) == (WorkloadKey("shop", "edge"), "edge")
    assert (full.ports, full.labels.as_dict()) == (((80, None),), {"istio": "edge", "team": "web"})


def test_what_a_secret_is() -> None:
    """Files, and the namespace in front of the name."""
    _, (plain, full) = file("""
secrets:
  web: {cert: web.crt, key: web.key}
  shop/web.example.com: {cert: a, key: b, ca: c}
""")
    assert plain == SPEC
    assert (full.secret, full.roots) == (SecretKey("shop", "web.example.com"), "c")


def test_every_mistake_is_told() -> None:
    """With its code and line."""
    assert mistakes("""
services:
  web: {ports: [80], workloads: {v1: {command: [a]}}}
gateways:
  web-v1: {ports: {80: 8080}}
  Big: {ports: {80: 8080}}
  none: {}
  odd:
    ports:
      http: 8080
      80: many
      90: 70000
    port: 1
secrets:
  web: {cert: a}
  Web: {cert: a, key: b}
  default/web: {cert: a, key: b}
""") == [
        ("MSH2005", 5), ("MSH2008", 6), ("MSH2007", 7), ("MSH2008", 10), ("MSH2008", 11), ("MSH2008", 12),
        ("MSH2004", 13), ("MSH2007", 15), ("MSH2008", 16), ("MSH2005", 17),
    ]  # fmt: skip


def test_a_gateway_is_a_workload_without_application(tmp_path: Path) -> None:
    """A router on 127.0.0.1; a port that the file leaves open stays what it was, also for other processes."""
    decoded = decode("services: {}\ngateways: {ingress: {ports: {80: auto, 443: 9443}}}", name="m")
    assert decoded.file is not None
    first, second = (plan(decoded.file, Allocator(7, ledger=Ledger(tmp_path / "ledger"))) for _ in range(2))
    (workload,) = first.workloads
    assert first == second
    assert (workload.role, first.instances, first.launches) == ("gateway", (), ())
    assert node_id(workload, "cluster.local") == "router~127.23.0.1~ingress.default~default.svc.cluster.local"
    open_port = workload.ports[0].target
    assert workload.ports == (EntryPort(80, "127.0.0.1", open_port, open_port), EntryPort(443, "127.0.0.1", 9443, 9443))


def test_a_free_port_is_one_that_nobody_has() -> None:
    """Near the number that people know; none that is taken, and none given before."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port, address="127.0.0.1", slot=0) > port
    first = free_port(80, address="127.0.0.1", slot=3)
    assert 8380 <= first < 8480
    assert free_port(80, address="127.0.0.1", slot=3, given=[first]) > first
    with pytest.raises(Misconfigured, match="no port"):
        free_port(80, address="127.0.0.1", slot=3, given=range(8380, 8480))


def test_files_are_read_when_they_hold_still(tmp_path: Path) -> None:
    """A pair that is being replaced is not told by halves, and one that is gone says so."""
    secrets, pair, other = FileSecrets(home=tmp_path, every=1.0), made("a.com"), made("b.com")
    secrets.look((SPEC,))
    (missing,) = secrets.values()
    assert "web.crt cannot be read" in missing.problem
    pair.write(tmp_path / "web.crt", tmp_path / "web.key")
    secrets.look((SPEC,))
    assert secrets.values() == (missing,)
    secrets.look((SPEC,))
    pair_secret = secrets.values()
    assert [each.chain for each in pair_secret] == [pair.certificate]
    (tmp_path / "web.crt").write_bytes(other.certificate)
    secrets.look((SPEC,))
    (tmp_path / "web.key").write_bytes(other.key)
    secrets.look((SPEC,))
    assert secrets.values() == pair_secret
    secrets.look((SPEC,))
    (new,) = secrets.values()
    assert (new.chain, new.key.value) == (other.certificate, other.key)
    secrets.look(())
    assert secrets.values() == ()
