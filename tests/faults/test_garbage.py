"""What the mesh keeps on disk is harmed, or the disk takes nothing more: it says so, and goes on serving."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from istioctl.local.testing import MeshFile, Up, eventually

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(120)]

RULE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http: [{headers: {response: {set: {x-rule: %s}}}, route: [{destination: {host: web}}]}]
"""
NEW = '  new:\n    ports: [80/http]\n    workloads:\n      v1: {command: ["%s", app.py], env: {SAYS: new}}\n'


@pytest.fixture
def up(shared: Up) -> Up:
    eventually(lambda: serves(shared), within=10, what=lambda: shared.said)
    return shared


def serves(up: Up, url: str = "http://web/") -> bool:
    return up.call("client-v1", url).status == 200


def test_harmed_certificates_are_restored(up: Up) -> None:
    """Garbage, and none at all: Envoy lives on with what it has, and within 10 s the files are good again."""
    directory = up.state / "proxies" / "web-v1.default" / "certs"
    good = {name: (directory / name).read_bytes() for name in ("default.json", "ROOTCA.json")}
    for content in (b"\0garbage", None):
        spoken = up.spoken
        for name in good:
            harm(directory / name, content)
        assert all(serves(up) for _ in range(20))
        up.hears("web-v1.default", "they are restored", within=15, after=spoken)
        assert {name: (directory / name).read_bytes() for name in good} == good
    assert all(serves(up) for _ in range(20))


def harm(path: Path, content: bytes | None) -> None:
    """As Envoy notices it: by a rename."""
    if content is None:
        path.unlink()
        return
    new = path.with_suffix(".bad")
    new.write_bytes(content)
    new.replace(path)


@pytest.mark.parametrize("content", [b"", b'{"workloads": [[["def'], ids=["empty", "half"])
def test_a_harmed_ledger_moves_nobody(up: Up, shared_file: MeshFile, content: bytes) -> None:
    """The next edit of the mesh file brings what is new in it; all that ran goes on, where it was."""
    ledger = up.state / "addresses.json"
    assert ledger.exists()
    before = set(up.pids())
    ledger.write_bytes(content)
    spoken = up.spoken
    shared_file.write(NEW % sys.executable)
    up.hears("new-v1.default", "ready at", within=15, after=spoken)
    eventually(lambda: up.call("client-v1", "http://new/").body == "new", within=10)
    assert before <= set(up.pids())
    assert len(json.loads(ledger.read_bytes())["workloads"]) == 4
    shared_file.write()
    eventually(lambda: set(up.pids()) == before, within=10)


class High(MeshFile):
    """With a port that any user may have: in a namespace of users nobody is root of the host's network."""

    def text(self) -> str:
        return super().text().replace("80/http", "8080/http")


class Small:
    """A mesh whose state directory is a small disk of its own, in a mount namespace."""

    def __init__(self, folder: Path) -> None:
        self.file = High(folder)
        self.state = folder / "s"
        self.state.mkdir()
        script = f'mount -t tmpfs -o size=8m,mode=700 tmpfs {self.state} && exec "$@"'
        self.up = Up(self.file.path, state=self.state, within=("unshare", "-Urm", "sh", "-c", script, "sh"))

    def do(self, *words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """In there."""
        flags = ("-U", "-m", "--preserve-credentials")
        command = ["nsenter", "-t", str(self.up.process.pid), *flags, *words]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=30)

    def apply(self, text: str) -> "subprocess.CompletedProcess[str]":
        program = [sys.executable, "-c", "from istioctl.cli import main; main()", "--state-dir", str(self.state)]
        return self.do(*program, "apply", "-f", "-", stdin=text)


@pytest.fixture
def small() -> Iterator[Small]:
    with TemporaryDirectory(prefix="g") as folder:
        found = Small(Path(folder))
        with found.up as up:
            up.ready()
            eventually(lambda: serves(up, "http://web:8080/"), within=10, what=lambda: up.said)
            yield found


def test_a_full_disk(small: Small) -> None:
    """A rule is refused with the reason, an edit of the mesh file waits; all that runs, goes on. Then both work."""
    up = small.up
    before = set(up.pids())
    small.do("sh", "-c", f"cat /dev/zero > {small.state}/fill")
    refused = [small.apply(RULE % f"full{n}" + "#" * 5000) for n in range(3)]
    assert refused[-1].returncode == 1
    assert "full" in refused[-1].stderr or "No space" in refused[-1].stderr, refused[-1].stderr
    assert "Traceback" not in refused[-1].stderr
    small.file.write(NEW.replace("80/", "8080/") % sys.executable)
    up.hears("new-v1.default", "No space left on device", within=10)
    assert all(serves(up, "http://web:8080/") for _ in range(20))
    assert before <= set(up.pids()), up.said
    os.unlink(f"/proc/{up.process.pid}/root{small.state}/fill")
    up.hears("new-v1.default", "runs after all", within=15)
    eventually(lambda: up.call("client-v1", "http://new:8080/").body == "new", within=10)
    assert small.apply(RULE % "room").returncode == 0
    eventually(lambda: up.call("client-v1", "http://web:8080/").headers.get("x-rule") == "room", within=5)
