"""`istioctl enter`: what runs there calls as the workload does, in both captures, and keeps everything else."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from istioctl.local.testing import MeshFile, Up, eventually

pytestmark = pytest.mark.envoy


@pytest.fixture(params=["none", "redirect"], scope="module")
def up(request: pytest.FixtureRequest) -> Iterator[Up]:
    with TemporaryDirectory(prefix="e") as folder:
        file = MeshFile(Path(folder))
        with Up(file.path, state=Path(folder) / "s", arguments=("--capture", request.param)) as found:
            yield found.ready()


def entered(up: Up, *words: str) -> "subprocess.CompletedProcess[str]":
    return up.istioctl("enter", "client-v1", *words)


def test_a_call_goes_through_the_sidecar(up: Up) -> None:
    """By the service's name; the answer comes from an application of the mesh and was passed on by Envoys."""
    call = ("--", "curl", "-sS", "-i", "--max-time", "5", "http://web/")
    said = eventually(lambda: _answer(entered(up, *call).stdout), within=15)
    assert "x-envoy-upstream-service-time: " in said


def _answer(said: str) -> str | None:
    """Right after the start the service has nobody yet who was seen to be healthy."""
    return said if said.endswith(("one", "two")) else None


def test_directory_and_exit_code_are_ones_own(up: Up) -> None:
    """And what the workload is told is in the environment."""
    done = entered(up, "sh", "-c", "pwd; echo $WEB_SERVICE_HOST; exit 7")
    where, host = done.stdout.split()
    assert (where, done.returncode) == (os.getcwd(), 7)
    assert host.count(".") == 3


def test_who_is_not_there_is_told_so(up: Up) -> None:
    """A workload that is none, and a command that is none: an error and a way out, no traceback."""
    nobody = up.istioctl("enter", "client-v7", "true")
    assert nobody.returncode == 1
    assert 'did you mean "client-v1' in nobody.stderr
    nothing = entered(up, "no-such-program")
    assert nothing.returncode in (1, 127)
    assert "no-such-program" in nothing.stderr
    assert "Traceback" not in nobody.stderr + nothing.stderr
