"""Decoding mesh files: what is meant, and that every mistake is found with its place and a way out."""

from pathlib import Path

import msgspec
import pytest

from core.diagnostics import Severity
from core.model.config import ConfigKey
from core.model.mesh import OutboundMode
from core.model.protocol import Protocol
from core.model.service import Locality
from platforms.local.decode import decode, load
from platforms.local.meshfile import Listener, Listens, MeshFile, Runs

WHOLE = """
mesh: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}, trustDomain: example.org, connectTimeout: 1.5s}
namespace: shop
x-common: &common {labels: {team: a}, locality: eu/1a/rack7}
services:
  reviews:
    ports: [9080/http, "80:8080", {name: grpc-api, port: 9090}, {name: x, port: 7000, appProtocol: http2}]
    labels: {tier: "1"}
    serviceAccount: bookinfo-reviews
    workloads:
      v1: {<<: *common, command: [python3, reviews.py], env: {X: 010, Y: on}, replicas: 2, weight: 3}
      v2:
        address: {9080: "127.0.0.1:9081", 80: "[::1]:9082", 9090: "localhost:9083", 7000: "127.0.0.1:9084"}
  curl.tools:
    workloads: {any: {command: "sleep 'in peace'"}}
  later:
    ports: [3306]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, labels: {a: b}}
spec: {http: [{weight: 010, on: yes, day: 2020-01-01, time: 12:30:45, half: .5, no: ~}], hosts: [reviews]}
---
apiVersion: v1
kind: Other
metadata: {name: x, namespace: elsewhere}
"""


def good(text: str) -> MeshFile:
    decoded = decode(text, name="mesh.yaml")
    assert decoded.diagnostics == ()
    assert decoded.file is not None
    return decoded.file


def wrong(text: str) -> list[str]:
    """Line:column and code of every finding; each must say what is wrong and what to do."""
    decoded = decode(text, name="mesh.yaml")
    assert decoded.file is None
    assert all(found.message and found.fix and found.severity is Severity.ERROR for found in decoded.diagnostics)
    return [f"{found.place.line}:{found.place.column} {found.code}" for found in decoded.diagnostics if found.place]


def test_mesh_settings() -> None:
    """The section `mesh` gives settings and is a MeshConfig document, too."""
    file = good(WHOLE)
    assert file.mesh.outbound is OutboundMode.REGISTRY_ONLY
    assert file.mesh.trust_domain == "example.org"
    assert file.mesh.connect_timeout == 1500
    assert file.documents[0].key == ConfigKey("mesh.istio.io", "MeshConfig", "istio-system", "default")
    assert msgspec.json.decode(file.documents[0].spec)["trustDomain"] == "example.org"


def test_the_mesh_document_is_what_core_looks_for() -> None:
    """The key of the MeshConfig document is the one that core reads."""
    meshconfig = pytest.importorskip("core.kinds.meshconfig")
    assert good(WHOLE).documents[0].key == meshconfig.KEY
    assert meshconfig.lower_mesh(good(WHOLE).documents[0]).mesh == good(WHOLE).mesh


def test_ports() -> None:
    """Short and long forms; without a protocol Istio's selection by name and number."""
    found = [(port.name, port.number, port.target, port.protocol) for port in good(WHOLE).services[0].ports]
    assert found == [
        ("http", 9080, 9080, Protocol.HTTP),
        ("port-80", 80, 8080, Protocol.AUTO),
        ("grpc-api", 9090, 9090, Protocol.GRPC),
        ("x", 7000, 7000, Protocol.HTTP2),
    ]
    assert good(WHOLE).services[2].ports[0].protocol is Protocol.TCP


def test_workloads() -> None:
    """Defaults, merge keys, and texts exactly as they are written."""
    reviews, curl, later = good(WHOLE).services
    v1, v2 = reviews.workloads
    assert v1.application == Runs(command=("python3", "reviews.py"), env=(("X", "010"), ("Y", "on")))
    assert v1.labels.as_dict() == {"app": "reviews", "version": "v1", "team": "a"}
    assert (v1.replicas, v1.weight, v1.locality) == (2, 3, Locality("eu", "1a", "rack7"))
    assert v1.service_account == v2.service_account == "bookinfo-reviews"
    assert isinstance(v2.application, Listens)
    assert v2.application.listeners[1] == Listener(80, "::1", 9082)
    assert v2.application.listeners[2] == Listener(9090, "127.0.0.1", 9083)
    assert (curl.namespace, curl.ports) == ("tools", ())
    assert curl.workloads[0].application == Runs(command=("sleep", "in peace"))
    assert (later.namespace, later.workloads) == ("shop", ())


def test_further_documents_stay_undecoded() -> None:
    """Identity, labels and source are read; the spec is canonical JSON with the types of YAML 1.2."""
    _, service, other = good(WHOLE).documents
    assert service.key == ConfigKey("networking.istio.io", "VirtualService", "shop", "reviews")
    assert service.version == "v1"
    assert service.source == "mesh.yaml:19"
    assert service.annotations.get("istio.io/source") == "mesh.yaml:19"
    assert service.labels.as_dict() == {"a": "b"}
    http = {"weight": 8, "on": True, "day": "2020-01-01", "time": "12:30:45", "half": 0.5, "no": None}
    assert msgspec.json.decode(service.spec) == {"hosts": ["reviews"], "http": [http]}
    assert service.spec.startswith(b'{"hosts"')
    assert other.key == ConfigKey("", "Other", "elsewhere", "x")


RULE = "apiVersion: v1\nkind: X\nmetadata: {name: a}\n"
BOMB = "  a0: &a0 [1,2,3,4,5,6,7,8,9]\n" + "".join(
    f"  a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)

MISTAKES = {
    "not yaml": ("services: [", ["2:1 MSH2002"]),
    "tab": ("services:\n\ta: b", ["2:1 MSH2002"]),
    "empty": ("# nothing\n", ["1:1 MSH2003"]),
    "only a rule": ("apiVersion: v1\nkind: X\nmetadata: {name: a}\n", ["1:1 MSH2007"]),
    "no services": ("namespace: a\n", ["1:1 MSH2007"]),
    "not a mapping": ("- a\n", ["1:1 MSH2006", "1:1 MSH2007"]),
    "unknown fields": ("service: {}\nservices:\n  a: {port: [80]}\n", ["1:1 MSH2004", "3:7 MSH2004"]),
    "key twice": ("services:\n  a: {}\n  a: {}\n", ["3:3 MSH2005"]),
    "service twice": ("services:\n  a: {}\n  a.default: {}\n", ["3:3 MSH2005"]),
    "namespace twice": ("services:\n  a.b: {namespace: c}\n", ["2:20 MSH2009"]),
    "bad name": ("services:\n  A_b: {}\n", ["2:3 MSH2008"]),
    "bad namespace": ("namespace: A\nservices: {}\n", ["1:12 MSH2008"]),
    "wrong type": ("services:\n  a: {ports: 80}\n", ["2:14 MSH2006"]),
    "bad ports": ("services:\n  a: {ports: [http, 0, 70000/http, 80/htp]}\n", [
        "2:15 MSH2008", "2:21 MSH2008", "2:24 MSH2008", "2:36 MSH2008"]),
    "port twice": ("services:\n  a: {ports: [80/http, 80/tcp]}\n", ["2:24 MSH2005"]),
    "port name twice": ("services:\n  a: {ports: [80/http, {name: http, port: 81}]}\n", ["2:24 MSH2005"]),
    "port without number": ("services:\n  a: {ports: [{name: http}]}\n", ["2:15 MSH2007"]),
    "nothing to run": ("services:\n  a:\n    ports: [80]\n    workloads: {v1: {}}\n", ["4:17 MSH2007"]),
    "empty workload": ("services:\n  a:\n    ports: [80]\n    workloads:\n      v1:\n", ["5:7 MSH2007"]),
    "both": ('services: {a: {ports: [80], workloads: {v1: {command: [x], address: "127.0.0.1:1"}}}}', [
        "1:60 MSH2009"]),
    "env without command": ("services: {a: {workloads: {v1: {env: {A: b}}}}}", ["1:33 MSH2009"]),
    "empty command": ("services: {a: {workloads: {v1: {command: []}, v2: {command: ''}}}}", [
        "1:42 MSH2008", "1:61 MSH2008"]),
    "open quote": ("services: {a: {workloads: {v1: {command: 'a \"b'}}}}", ["1:42 MSH2008"]),
    "bad variable": ("services: {a: {workloads: {v1: {command: x, env: {A-B: 1}}}}}", ["1:51 MSH2008"]),
    "bad label": ("services: {a: {workloads: {v1: {command: x, labels: {_a: b, c: d e}}}}}", [
        "1:54 MSH2008", "1:64 MSH2008"]),
    "bad locality": ("services: {a: {workloads: {v1: {command: x, locality: a/b/c/d}, v2: {locality: '*'}}}}", [
        "1:55 MSH2008", "1:80 MSH2008"]),
    "bad numbers": ("services: {a: {workloads: {v1: {command: x, replicas: -1, weight: 1.5}}}}", [
        "1:55 MSH2008", "1:67 MSH2008"]),
    "address for two ports": ('services: {a: {ports: [80, 81], workloads: {v1: {address: "127.0.0.1:1"}}}}', [
        "1:59 MSH2008"]),
    "address for some ports": ('services: {a: {ports: [80, 81], workloads: {v1: {address: {80: "127.0.0.1:1"}}}}}', [
        "1:59 MSH2007"]),
    "address for another port": ('services: {a: {ports: [80], workloads: {v1: {address: {81: "127.0.0.1:1"}}}}}', [
        "1:55 MSH2007", "1:56 MSH2004"]),
    "no address": ("services: {a: {ports: [80], workloads: {v1: {address: example.com:80}}}}", ["1:55 MSH2008"]),
    "address of the mesh": ("services: {a: {ports: [80], workloads: {v1: {address: 127.16.0.1:80}}}}", [
        "1:55 MSH2008"]),
    "replicas of one address": (
        "services: {a: {ports: [80], workloads: {v1: {address: 127.0.0.1:80, replicas: 2}}}}", ["1:79 MSH2009"]),
    "one target, two places": (
        'services: {a: {ports: ["80:8080", "81:8080"], workloads: {v1: '
        '{address: {80: "127.0.0.1:1", 81: "127.0.0.1:2"}}}}}', ["1:73 MSH2009"]),
    "workload names meet": (
        "services:\n  a: {workloads: {b-c: {command: x}}}\n  a-b: {workloads: {c: {command: x}}}\n", ["3:21 MSH2005"]),
    "replica names meet": (
        "services:\n  a: {workloads: {v1: {command: x, replicas: 2}, v1-2: {command: x}}}\n", ["2:50 MSH2005"]),
    "mesh settings": (
        "mesh: {outboundTrafficPolicy: {mode: ALLOW}, connectTimeout: 10, trustDomain: A b, x: 1}\nservices: {}\n",
        ["1:38 MSH2008", "1:62 MSH2008", "1:79 MSH2008", "1:84 MSH2004"]),
    "document without kind": ("services: {}\n---\nmetadata: {name: a}\n", ["3:1 MSH2011"]),
    "document without name": ("services: {}\n---\napiVersion: v1\nkind: X\nmetadata: {}\n", ["5:11 MSH2011"]),
    "document twice": (
        "services: {}\n---\napiVersion: v1\nkind: X\nmetadata: {name: a}\n---\n"
        "apiVersion: v2\nkind: X\nmetadata: {name: a}\n", ["7:1 MSH2005"]),
    "document with more": ("services: {}\n---\napiVersion: v1\nkind: X\nmetadata: {name: a}\ndata: 1\n", [
        "6:1 MSH2004"]),
    "list for text": ("services: {a: {serviceAccount: [b]}}", ["1:32 MSH2006"]),
    "endless alias": (f"services: {{}}\n---\n{RULE}spec: &a {{x: *a}}\n", ["0:0 MSH2010"]),
    "endless merge": ("services: &a {<<: *a}\n", ["0:0 MSH2010"]),
    "alias bomb": (f"services: {{}}\n---\n{RULE}spec:\n{BOMB}", ["0:0 MSH2010"]),
    "too many workloads": (
        "services:\n  a:\n    workloads:\n      v1: {command: x, replicas: 200}\n"
        "      v2: {command: x, replicas: 57}\n",
        ["5:7 MSH2010"]),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_every_mistake_has_a_code_and_a_place(name: str) -> None:
    """Each mistake gives exactly these findings, and nothing of the file is used."""
    text, expected = MISTAKES[name]
    assert wrong(text) == expected


def test_all_mistakes_at_once() -> None:
    """Independent mistakes are all found in one pass, in the order of the file."""
    text = "service: {}\nservices:\n  A: {}\n  b: {ports: [0], workloads: {v1: {comand: x}}}\n---\nkind: X\n"
    assert wrong(text) == [
        "1:1 MSH2004", "3:3 MSH2008", "4:15 MSH2008", "4:36 MSH2004", "6:1 MSH2011",
    ]  # fmt: skip


def test_messages_name_the_field_and_suggest() -> None:
    """A finding shows file, place, field path, what was expected, and the nearest right word."""
    decoded = decode("services:\n  reviews:\n    workloads:\n      v1: {comand: x}\n", name="mesh.yaml")
    (found,) = decoded.diagnostics
    assert str(found).startswith("mesh.yaml:4:12: Error [MSH2004] services.reviews.workloads.v1.comand: ")
    assert found.fix == "did you mean 'command'?"


def test_a_service_beyond_the_limit_is_named() -> None:
    """The first service for which there is no number is the place of the finding."""
    lines = "".join(f"  s{n}: {{ports: [80]}}\n" for n in range(2048))
    assert wrong(f"services:\n{lines}") == ["2049:3 MSH2010"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file and one that is not text are findings as well."""
    (missing,) = load(tmp_path / "none.yaml").diagnostics
    assert (missing.code, "No such file" in missing.message) == ("MSH2001", True)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"services: \xff\xfe")
    assert [found.code for found in load(binary).diagnostics] == ["MSH2002"]


def test_the_manual_explains_every_code_and_its_examples_are_right() -> None:
    """docs/reference/mesh-file.md has a line for each code, and every mesh file in it decodes."""
    manual = (Path(__file__).parents[3] / "docs/reference/mesh-file.md").read_text(encoding="utf-8")
    from platforms.local.codes import Code

    assert [code for code in Code if f"`{code.value}`" not in manual] == []
    examples = [part.split("```", 1)[0] for part in manual.split("```yaml\n")[1:]]
    assert len(examples) >= 2
    for example in examples:
        good(example)


def test_the_bookinfo_example_decodes() -> None:
    """examples/bookinfo/mesh.yaml is a good mesh file."""
    decoded = load(Path(__file__).parents[3] / "examples/bookinfo/mesh.yaml")
    assert decoded.diagnostics == ()
    assert decoded.file is not None
