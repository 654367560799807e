"""The applications of the demo, and that there is only one copy of them."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from core.model.mesh import Mesh
from istioctl.demo.bookinfo import services
from istioctl.demo.settings import MESH_FILE, RULES
from istioctl.demo.stage import WHOLE
from istioctl.local.testing import eventually
from platforms.local.decode import load

ROOT = Path(__file__).parents[4]
GATEWAY = 'By=spiffe://a/ns/x/sa/p;Hash=1;Subject="";URI=spiffe://a/ns/x/sa/gateway'


@pytest.mark.parametrize("name", ["mesh.yaml", "services.py", *(f"rules/{each.name}" for each in RULES.glob("*.yaml"))])
def test_the_examples_are_what_the_demo_runs(name: str) -> None:
    """A link, so that nothing can drift."""
    assert (ROOT / "examples" / "bookinfo" / name).resolve() == MESH_FILE.parent / name


def test_the_mesh_file_is_right() -> None:
    """It has a gateway, demands mutual TLS of everybody, and runs services that there are."""
    decoded = load(MESH_FILE)
    assert decoded.file is not None
    assert decoded.diagnostics == ()
    assert {service.name for service in decoded.file.services} == {*services.SERVICES, "client"}
    assert len(decoded.file.gateways) == 1
    kinds = {(document.key.kind, document.key.namespace) for document in decoded.file.documents}
    assert ("PeerAuthentication", Mesh().root_namespace) in kinds


@pytest.mark.parametrize(
    ("header", "caller"),
    [
        (GATEWAY, "spiffe://a/ns/x/sa/gateway"),
        (f"By=b;URI=spiffe://a/old,{GATEWAY}", "spiffe://a/ns/x/sa/gateway"),
        ("By=spiffe://a/b;Hash=1", ""),
        ("", ""),
    ],
)
def test_the_caller_is_the_one_that_the_sidecar_verified(header: str, caller: str) -> None:
    """The last element of the header is this sidecar's; `By` is the called."""
    assert services.caller({"X-Forwarded-Client-Cert": header} if header else {}) == caller


def test_a_page_says_what_is_missing() -> None:
    """Without anybody else there is still a page; without stars there are still reviews."""
    status, page = services.productpage("/", {})
    assert status == 200
    assert all("error" in page[name] for name in WHOLE)  # type: ignore[operator]
    assert services.reviews("/reviews/7", {})[1]["id"] == "7"


def test_a_service_listens_where_it_is_told_to() -> None:
    """As the mesh runs it: a script, an address, a port; it answers, and ends at once when it is told to."""
    environment = {**os.environ, "APP_IP": "127.0.0.9", "PORT": "19080"}
    with subprocess.Popen([sys.executable, services.__file__, "details"], env=environment) as running:
        try:
            body = eventually(answered, within=10)
        finally:
            running.terminate()
    assert json.loads(body)["author"] == "William Shakespeare"


def answered() -> bytes | None:
    try:
        with urllib.request.urlopen("http://127.0.0.9:19080/details/0", timeout=5) as response:
            return bytes(response.read())
    except OSError:
        return None
