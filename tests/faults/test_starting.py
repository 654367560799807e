"""What keeps a mesh from starting is said in words that help, and nothing is left of the attempt."""

import os
import signal
import sys
from pathlib import Path

import pytest

from istioctl.local.testing import MeshFile, Up, call, eventually, istioctl, listening

GOOD = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http:
  - route: [{destination: {host: web}}]
"""
DOUBTFUL = GOOD + "  - route: [{destination: {host: web}}]\n"
BAD = GOOD + "    timeout: soon\n"


def test_no_envoy(mesh_file: MeshFile, tmp_path: Path) -> None:
    """An Envoy that is not there: which, who named it, and a way out; exit code 1."""
    with Up(mesh_file.path, state=tmp_path / "state", ISTIO_ENVOY="/nonexistent") as up:
        assert up.ended(within=10) == 1
        assert up.hears("error:", "no Envoy at /nonexistent (from $ISTIO_ENVOY)")
        assert up.hears("fix:", "Name an executable Envoy")
        assert not up.state.exists()


def test_every_mistake_in_the_mesh_file_is_listed(mesh_file: MeshFile, tmp_path: Path) -> None:
    """A file with three mistakes: each with its line, exit code 1, and nothing was started."""
    last = len(mesh_file.text().splitlines())
    mesh_file.write("  a:\n    prots: [80]\n  B:\n    ports: [http]\n")
    with Up(mesh_file.path, state=tmp_path / "state") as up:
        assert up.ended(within=10) == 1
        for line in (last + 2, last + 3, last + 4):
            assert up.hears(f"{mesh_file.path}:{line}:", "Error [MSH20")
        assert "nothing was started" in up.said
        assert not up.state.exists()


def test_a_mesh_file_that_is_not_there(tmp_path: Path) -> None:
    """The path is named; exit code 1."""
    with Up(tmp_path / "no.yaml", state=tmp_path / "state") as up:
        assert up.ended(within=10) == 1
        assert up.hears(f"{tmp_path}/no.yaml", "No such file")


@pytest.mark.envoy
def test_a_port_of_a_workload_is_taken(mesh_file: MeshFile, tmp_path: Path) -> None:
    """The holder's pid is named, and the rest of the mesh runs; once the port is free, the workload runs as well."""
    holder = listening("127.23.0.1", 15007)
    with holder, Up(mesh_file.path, state=tmp_path / "state", arguments=("--slot", "7")) as up:
        line = up.hears("client-v1.default", "does not run", within=20)
        assert "127.23.0.1:15007 is taken" in line
        assert f"pid {os.getpid()}" in line
        up.hears("2 of 3 workloads ready")
        holder.close()
        up.hears("client-v1.default", "runs after all", within=5)
        eventually(lambda: call("127.23.0.1", "http://web/").status == 200, within=5)


@pytest.mark.envoy
def test_what_one_mesh_has_no_other_gets(shared: Up, mesh_file: MeshFile, tmp_path: Path) -> None:
    """The state directory and the slot of a running mesh are refused to a second one; the slot's holder is named."""
    with Up(mesh_file.path, state=shared.state) as other:
        assert other.ended(within=10) == 1
        assert other.hears("error:", f"another mesh runs with the state directory {shared.state}")
    slot = shared.hears("; slot ").partition("; slot ")[2][0]
    with Up(mesh_file.path, state=tmp_path / "state", arguments=("--slot", slot)) as other:
        assert other.ended(within=10) == 1
        assert other.hears("error:", f"slot {slot} is in use by process {shared.process.pid}")


@pytest.mark.envoy
def test_kept_rules_are_not_cleared_away(mesh_file: MeshFile, tmp_path: Path) -> None:
    """A state directory that a mesh with --keep left is refused without --keep, and stays as it is."""
    state = tmp_path / "state"
    with Up(mesh_file.path, state=state, arguments=("--keep",)) as up:
        up.hears("3 of 3 workloads ready")
        up.process.send_signal(signal.SIGINT)
        assert up.ended(within=5) == 0
    kept = (state / "config.sqlite").stat().st_ino
    with Up(mesh_file.path, state=state) as up:
        assert up.ended(within=10) == 1
        assert up.hears("error:", "were to be kept")
        assert up.hears("fix:", "--keep")
    assert (state / "config.sqlite").stat().st_ino == kept


@pytest.mark.parametrize(
    ("text", "code"), [(GOOD, 0), (DOUBTFUL, 0), (BAD, 1), (GOOD + "---\n" + BAD, 1), ("kind: [", 1)]
)
def test_validate_exit_codes(text: str, code: int, tmp_path: Path) -> None:
    """0 when everything is valid, warnings included; 1 when a document is not; the place is said."""
    done = istioctl("validate", "-f", "-", stdin=text, state=tmp_path)
    assert done.returncode == code, done.stderr
    assert ("Error [" in done.stderr + done.stdout) == bool(code)
    assert "<stdin>:" in done.stderr + done.stdout or text == GOOD


def test_validate_files_and_directories(tmp_path: Path) -> None:
    """One bad file in a directory is named; a missing file is a failure, too."""
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "worse.yaml").write_text(BAD.replace("name: web", "name: worse"))
    done = istioctl("validate", "-f", str(tmp_path), state=tmp_path)
    assert done.returncode == 1
    assert f"{tmp_path}/worse.yaml:8:" in done.stdout + done.stderr
    assert istioctl("validate", "-f", str(tmp_path / "good.yaml"), state=tmp_path).returncode == 0
    assert istioctl("validate", "-f", str(tmp_path / "none.yaml"), state=tmp_path).returncode == 2


def test_rules_without_a_mesh(tmp_path: Path) -> None:
    """`apply` where no Manager runs: said so, with the command that starts one."""
    done = istioctl("apply", "-f", "-", stdin=GOOD, state=tmp_path / "none")
    assert done.returncode == 1
    assert "no Manager is running" in done.stderr
    assert "istioctl up mesh.yaml" in done.stderr


@pytest.mark.envoy
def test_who_calls_as_soon_as_the_mesh_says_it_is_ready_is_answered(tmp_path: Path) -> None:
    """Three times: workloads are ready before their applications listen, which everybody's proxy has to learn of."""
    file = MeshFile(tmp_path)
    late = f'["sh", "-c", "sleep 0.6; exec {sys.executable} app.py"], env: {{SAYS: one}}'
    file.path.write_text(file.text().replace(file.runs("one"), f"{{command: {late}}}"))
    for _ in range(3):
        with Up(file.path, state=tmp_path / "state") as up:
            up.ready()
            # So many that chance leaves none of the two out.
            assert {call.body for call in (up.call("client-v1", "http://web/") for _ in range(40))} == {"one", "two"}


@pytest.mark.envoy
def test_an_application_that_never_listens_does_not_keep_the_mesh_from_being_ready(tmp_path: Path) -> None:
    """Nobody waits for it longer than some seconds."""
    file = MeshFile(tmp_path)
    file.path.write_text(file.text().replace(file.runs("one"), '{command: [sleep, "1000"]}'))
    with Up(file.path, state=tmp_path / "state") as up:
        up.hears("3 of 3 workloads ready")
