"""Commands that go on until somebody stops them, as processes: readers that leave, Managers that are started again."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from istioctl.testing.kubectl import Mesh, running

pytestmark = pytest.mark.timeout(60)

RULE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews}}]}]}
"""


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    with running(tmp_path / "m") as mesh:
        done = start(mesh, "apply", "--wait", "-f", "-")
        done.communicate(RULE, 20)
        assert done.returncode == 0
        yield mesh


def start(mesh: Mesh, *words: str) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    environment = {name: value for name, value in os.environ.items() if name != "ISTIO_KUBECONFIG"}
    return subprocess.Popen(
        [sys.executable, "-c", "from istioctl.cli import main; main()", *words],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
        env={**environment, "ISTIO_STATE_DIR": str(mesh.state)},
    )


@pytest.mark.parametrize("words", [("get", "vs", "-w"), ("get", "vs", "-w", "-o", "json"), ("status", "-w")])
def test_it_ends_when_nobody_reads_any_more(words: tuple[str, ...], mesh: Mesh) -> None:
    """As `istioctl ... | head -1` shows it: at once, although nothing changes, and without a word."""
    with start(mesh, *words) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(5) == 1
        assert process.stderr.read() == ""


def test_a_watched_status_outlives_the_manager(mesh: Mesh) -> None:
    """It says that it waits, and goes on with what is different then."""
    with start(mesh, "status", "-w") as process:
        assert process.stdout
        assert process.stderr
        assert "OBJECT" in process.stdout.readline()
        assert "VirtualService default/reviews" in process.stdout.readline()
        mesh.stop()
        assert "waiting for it (Ctrl-C ends this)" in process.stderr.readline()
        with running(mesh.state) as again:
            assert process.stderr.readline() == "the Manager is back\n"
            assert "is gone" in process.stderr.readline()
            start(again, "apply", "-f", "-").communicate(RULE, 20)
            assert "VirtualService default/reviews" in process.stdout.readline()
            process.terminate()
            process.wait(5)
