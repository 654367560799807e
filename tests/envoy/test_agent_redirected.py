"""`istio-agent run --capture redirect` by itself, on machines of their own, with a Manager on another one: rules by
`istio-agent capture`, Envoys that are known by a mark or by their user. A machine is a network namespace of the fabric.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from core.manager.ca.storage import CERTIFICATE
from core.manager.paths import identity_directory
from istioctl.local.testing import eventually, istioctl
from platforms.local.addresses import Allocator
from platforms.local.decode import load
from platforms.local.ledger import Ledger
from platforms.local.mesh import LEDGER
from platforms.local.plan import plan
from proxy.capture.apply import available
from proxy.capture.fabric import Pod, fabric
from proxy.capture.wire import Network

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

MESH = """\
services:
  caller: {workloads: {v1: {command: [x]}}}
  web: {ports: [80/http], workloads: {v1: {command: [x], interception: TPROXY}}}
  plain: {ports: [80/http], workloads: {v1: {command: [x]}}}
"""
MANAGER, HTTPS, XDS = "198.19.0.2", 15013, 15012
SLOT = 6
APPLICATION = """\
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{self.client_address[0]} {'URI=' in self.headers['x-forwarded-client-cert']}".encode())

    def log_message(self, *arguments):
        pass


HTTPServer(("0.0.0.0", 80), Handler).serve_forever()
"""
# A user of its own, with no right to anything but to find a Python that may be in somebody else's home.
USER = (
    *("setpriv", "--reuid=1337", "--regid=1337", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)


class Machine(msgspec.Struct, frozen=True):
    """Of one workload: its network, and the options of its rules and its agent, which runs as `user`."""

    name: str
    pod: Pod
    rules: tuple[str, ...]
    agent: tuple[str, ...]
    user: tuple[str, ...] = ()

    def run(self, *words: str) -> str:
        """What a program prints there; its exit code must be 0."""
        done = subprocess.run([*self.pod.enter, *words], capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def capture(self, action: str) -> None:
        quiet = ("env", "XTABLES_LOCKFILE=/dev/null")
        rules = self.rules if action == "apply" else ()
        self.run(*quiet, sys.executable, "-m", "proxy", "capture", action, *rules)

    def get(self, service: str) -> str:
        """What the service answers to a program that knows of no mesh; "" when it does not."""
        url = f"http://{service}.default.svc.cluster.local/"
        words = [*self.pod.enter, "curl", "-sS", "--max-time", "1", url]
        return subprocess.run(words, capture_output=True, text=True, timeout=20).stdout

    def processes(self) -> list[int]:
        """Everything that runs in its network."""
        network = self.run("readlink", "/proc/self/ns/net").strip()
        return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit() and _network(each) == network]


def _network(process: Path) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(process / "ns" / "net")
    return ""


class Site(msgspec.Struct, frozen=True):
    folder: Path
    caller: Machine
    web: Machine
    plain: Machine

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def agent(self, machine: Machine, *command: str) -> "subprocess.Popen[bytes]":
        roots = identity_directory(self.state) / CERTIFICATE
        words = (
            *(sys.executable, "-m", "proxy", "run", "--name", machine.name, "--address", machine.pod.address),
            *("--manager", f"https://{MANAGER}:{HTTPS}", "--xds", f"{MANAGER}:{XDS}", "--roots", str(roots)),
            *("--token", str(self.folder / f"{machine.name}.token"), "--directory", str(self.folder / machine.name)),
            *("--capture", "redirect", "--app-address", "0.0.0.0", "--drain", "0", *machine.agent, "--", *command),
        )
        return self.start(machine.name, *machine.pod.enter, *machine.user, *words)

    def start(self, name: str, *words: str) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL, process_group=0)

    def said(self) -> str:
        return "\n".join(each.read_text()[-2000:] for each in sorted(self.folder.glob("*.log")))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Several users in one namespace need root."""
    if os.getuid() != 0:
        if "CI" in os.environ:
            pytest.fail("CI runs these tests as root")
        pytest.skip("needs root")
    folder = tmp_path_factory.mktemp("site")
    (folder / "mesh.yaml").write_text(MESH)
    (folder / "state").mkdir(mode=0o700)
    file = load(folder / "mesh.yaml").file
    assert file is not None
    numbers = Allocator(SLOT, ledger=Ledger(folder / "state" / LEDGER))
    addresses = {str(each.key.name): each.address for each in plan(file, numbers, capture="redirect").workloads}
    async with fabric(Network(own_user=False, backend=available())) as net:
        manager = await net.add("manager", MANAGER, policy=None)
        caller, web, plain = [await net.add(name, at, policy=None) for name, at in addresses.items()]
        tproxy = ("--istio-inbound-interception-mode", "TPROXY", "--proxy-mark", "1336")
        found = Site(
            folder,
            Machine("caller-v1", caller, ("--proxy-mark", "1337"), ("--proxy-mark", "1337")),
            Machine("web-v1", web, tproxy, ("--interception", "TPROXY", "--proxy-mark", "1336", "--port", "80")),
            Machine("plain-v1", plain, (), ("--port", "80"), user=USER),
        )
        process = found.start("manager", *manager.enter, sys.executable, "-m", "core.manager", settings(found))
        try:
            eventually(lambda: "ready" in found.said(), within=20, what=found.said)
            yield found
        finally:
            process.kill()
            process.wait()


def settings(site: Site) -> str:
    local = {"mesh_file": str(site.folder / "mesh.yaml"), "state": str(site.state), "slot": SLOT, "slot_held": True}
    return json.dumps(
        {
            "state": str(site.state),
            "options": {**local, "capture": "redirect", "probe_interval": None},
            "ca_listen": f"0.0.0.0:{HTTPS}",
            "xds_listen": f"0.0.0.0:{XDS}",
        }
    )


async def test_agents_by_hand_from_rules_to_none(site: Site) -> None:
    """Rules first, then agents, which reach their Manager past the rules; with TPROXY the application sees who calls.

    A killed agent takes Envoy and application with it, the rules stay, and the next agent goes on. What `clean` leaves
    is nothing.
    """
    machines = (site.caller, site.web, site.plain)
    for machine in machines:
        done = istioctl("token", "create", "--workload", machine.name, state=site.state)
        assert done.returncode == 0, done.stderr
        (site.folder / f"{machine.name}.token").write_text(done.stdout)
        machine.capture("apply")
    (site.folder / "plain-v1").mkdir()
    os.chown(site.folder / "plain-v1", 1337, 1337)
    caller, plain = site.agent(site.caller, "sleep", "1000"), site.agent(site.plain)
    beside = site.start("beside", *site.plain.pod.enter, sys.executable, "-c", APPLICATION)
    web = site.agent(site.web, sys.executable, "-c", APPLICATION)
    try:
        wanted = f"{site.caller.pod.address} True"
        eventually(lambda: site.caller.get("web") == wanted, within=20, what=site.said)
        eventually(lambda: site.caller.get("plain") == "127.0.0.6 True", within=20, what=site.said)

        web.kill()
        web.wait()
        eventually(lambda: site.web.processes() == [], within=5)
        web = site.agent(site.web, sys.executable, "-c", APPLICATION)
        eventually(lambda: site.caller.get("web") == wanted, within=20, what=site.said)
    finally:
        for process in (caller, web, plain, beside):
            process.send_signal(signal.SIGTERM)
            process.wait(10)
    for machine in machines:
        assert machine.processes() == []
        machine.capture("clean")
        assert "istio" not in machine.run("sh", "-c", "PATH=$PATH:/usr/sbin; nft list ruleset; ip rule").lower()
        assert "lookup 133" not in machine.run("sh", "-c", "PATH=$PATH:/usr/sbin; ip rule")
