"""`metrics` of a workload in the mesh file: where its agent looks, in both captures, and what is wrong with it."""

from typing import get_args

import pytest

from platforms.local.addresses import Allocator
from platforms.local.decode import decode
from platforms.local.meshfile import MeshFile
from platforms.local.plan import Exposition, plan
from platforms.local.settings import CaptureMode

FILE = "services:\n  web:\n    ports: [80/http]\n    workloads:\n      v1: {command: [x], metrics: %s}\n"


def decoded(metrics: str) -> tuple[MeshFile | None, tuple[str, ...]]:
    found = decode((FILE % metrics).encode(), name="mesh.yaml")
    return found.file, tuple(map(str, found.diagnostics))


@pytest.mark.parametrize("capture", get_args(CaptureMode))
@pytest.mark.parametrize(("written", "path"), [("{port: 9100}", "/metrics"), ("{port: 9100, path: /m?a=b}", "/m?a=b")])
def test_it_is_where_the_application_listens(capture: CaptureMode, written: str, path: str) -> None:
    """In a pod on its loopback; on the host at the address that the application is told."""
    file, findings = decoded(written)
    assert (file is not None, findings) == (True, ())
    assert file is not None
    (application,) = plan(file, Allocator(0), capture=capture).applications
    address = "127.0.0.1" if capture == "redirect" else "127.32.0.1"
    assert application.metrics == Exposition(address=address, port=9100, path=path)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{}", "has no `port`"),
        ("{port: 70000}", "70000"),
        ("{port: 9100, path: metrics}", "is no path"),
        ("{prot: 9100}", "prot"),
        ("9100", "mapping"),
    ],
)
def test_mistakes_are_told_with_their_line(written: str, said: str) -> None:
    """And nothing starts."""
    _, findings = decoded(written)
    assert len(findings) >= 1
    assert findings[0].startswith("mesh.yaml:5:")
    assert any(said in finding for finding in findings), findings
