"""A disk that takes nothing more: the agent says so, keeps serving with the certificate it has, and recovers by itself.

File systems of one's own need a mount namespace, which any user may have; the agent runs in there, as its own process.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from core.model.service import WorkloadKey
from core.model.workload import Explicit, Workload
from proxy.binary import find
from proxy.identity.authority import Local
from proxy.reports import Assignment, Became, Happened, encode, report
from proxy.settings import AgentSettings
from proxy.testing import eventually
from proxy.testing.authority import StubAuthority, stub_authority
from proxy.testing.manager import StubManager

pytestmark = [pytest.mark.envoy, pytest.mark.skipif(sys.platform != "linux", reason="needs mount namespaces")]

ADDRESS = "127.77.9.8"
LIFE = 8.0


class Jailed:
    """The agent in a mount namespace where its directory is a small disk of its own; `do` runs a command in there."""

    def __init__(self, work: Assignment, directory: Path) -> None:
        script = f"mount -t tmpfs -o size=1m,mode=700 tmpfs {directory} && exec {sys.executable} -m proxy -"
        self.process = subprocess.Popen(
            [shutil.which("unshare") or "unshare", "-Urm", "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(encode(work))
        self.process.stdin.close()
        self.events: list[tuple[str, dict[str, object]]] = []
        self.ready = False
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                match report(line.decode()):
                    case Happened(event, fields):
                        self.events.append((event, dict(fields)))
                    case Became(state):
                        self.ready = not state.unready
                    case _:
                        pass

    def named(self, event: str) -> list[dict[str, object]]:
        return [fields for name, fields in list(self.events) if name == event]

    def do(self, command: str) -> None:
        inside = ["nsenter", "-t", str(self.process.pid), "-U", "-m", "--preserve-credentials", "sh", "-c", command]
        subprocess.run(inside, check=True)

    def close(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10)
        finally:
            self.process.kill()
            self._reader.join(5)


@pytest.fixture
async def authority(tmp_path: Path) -> AsyncIterator[StubAuthority]:
    manager = StubManager(tmp_path / "xds")
    await manager.start()
    async with stub_authority(tmp_path / "ca", longest=LIFE) as authority:
        yield authority
    await manager.stop()


@pytest.fixture
def jailed(tmp_path: Path, authority: StubAuthority) -> Iterator[Jailed]:
    directory = tmp_path / "a"
    directory.mkdir()
    work = Assignment(
        workload=Workload(key=WorkloadKey("default", "a-1"), address=ADDRESS, capture=Explicit()),
        settings=AgentSettings(
            directory=str(directory),
            xds_sockets=(str(tmp_path / "xds"),),
            identity=Local(sockets=(str(tmp_path / "ca"),)),
        ),
        envoy=find(),
    )
    agent = Jailed(work, directory)
    yield agent
    agent.close()


@pytest.mark.parametrize(
    ("harm", "cure", "said"),
    [
        ("cat /dev/zero > {0}/fill 2>/dev/null; true", "rm {0}/fill", "No space left on device"),
        (
            "mount --bind {0}/certs {0}/certs && mount -o remount,bind,ro {0}/certs",
            "umount {0}/certs",
            "Read-only file system",
        ),
    ],
    ids=["full", "read-only"],
)
async def test_a_disk_that_takes_nothing(jailed: Jailed, tmp_path: Path, harm: str, cure: str, said: str) -> None:
    """It is told once, with the cause; Envoy stays ready with the old certificate, whose files are whole."""
    directory = tmp_path / "a"
    await eventually(lambda: jailed.ready, within=15, what=str(jailed.events))
    jailed.do(harm.format(directory))
    await eventually(lambda: bool(jailed.named("certificate.renewal_failed")), within=10)
    (failed,) = jailed.named("certificate.renewal_failed")
    assert said in str(failed["reason"])
    assert "certs/default.json" in str(failed["reason"])
    assert failed["fix"]
    assert jailed.ready
    inside = Path(f"/proc/{jailed.process.pid}/root{directory}/certs")
    assert json.loads((inside / "default.json").read_text())["resources"]
    assert {*os.listdir(inside)} - {"system-roots.pem"} == {"ROOTCA.json", "default.json"}
    before = len(jailed.named("certificate.issued"))
    jailed.do(cure.format(directory))
    await eventually(lambda: len(jailed.named("certificate.issued")) > before, within=10)
    assert len(jailed.named("certificate.renewal_failed")) == 1
