"""A mesh under steady load for tests of faults: every process its own, the caller an application of the mesh.

Every call counts: retries are off, except for those calls that are marked `retried`, which have Istio's default.
Mutual TLS is STRICT.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from istioctl.local.testing import Up, eventually
from istioctl.testing.driver import RETRIED, Report
from istioctl.testing.load import Failure
from istioctl.testing.rules import http_rule

RATE = 120
"""Calls a second."""

_MUTUAL = """\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
"""

_RETRIED = f"{{match: [{{headers: {{x-calls: {{exact: {RETRIED}}}}}}}], route: [{{destination: {{host: web}}}}]}}"


def _once(host: str) -> str:
    return f"{{retries: {{attempts: 0}}, route: [{{destination: {{host: {host}}}}}]}}"


RULES = "\n---\n".join(("", _MUTUAL, http_rule("web", _RETRIED, _once("web")), http_rule("aside", _once("aside"))))


class World:
    """A mesh under load: `caller` calls `web`, which has replicas, and `aside`, which has nothing to do with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "mesh.yaml"
        self.hold = folder / "hold"
        self.report = folder / "report.json"
        self.write()
        self.up: Up

    def write(self, more: str = "") -> None:
        """As an editor saves it. `more`: further workloads of `web`."""
        new = self.path.with_suffix(".new")
        new.write_text(self._text(more))
        new.replace(self.path)

    def _text(self, more: str) -> str:
        told = f"env: {{CALLS: 'web,aside', RATE: '{RATE}', REPORT: {self.report}}}"
        return f"""\
services:
  caller:
    workloads:
      v1: {{command: [{sys.executable}, -m, istioctl.testing.driver], {told}}}
  web:
    ports: [80/http, 9000/tcp, 50051/grpc]
    workloads:
{self.workload("v1")}{self.workload("v2", hold=True)}{more}
  aside:
    ports: [80/http, 9000/tcp]
    workloads:
      v1: {{command: [{sys.executable}, -m, istioctl.testing.application, aside]}}
{RULES}"""

    def workload(self, name: str, *, hold: bool = False, account: str = "default") -> str:
        held = f", env: {{HOLD: {self.hold}}}" if hold else ""
        command = f"[{sys.executable}, -m, istioctl.testing.application, web-{name}]"
        return f"      {name}: {{command: {command}, serviceAccount: {account}{held}}}\n"

    # -- what became of the calls --------------------------------------------------------------------------------------

    def read(self) -> Report:
        return msgspec.json.decode(self.report.read_bytes(), type=Report)

    def flows(self, count: int = 200) -> Report:
        """Once there are that many further calls, and so those under way now have ended."""
        goal = sum(self.read().done.values()) + count
        return eventually(lambda: r if sum((r := self.read()).done.values()) >= goal else None, within=20)

    def answers(self, name: str) -> int:
        return self.read().answered.get(name, 0)

    def gets_calls(self, name: str, *, within: float = 15) -> None:
        before = self.answers(name)
        eventually(
            lambda: self.answers(name) > before + 5, within=within, what=lambda: f"{self.read()}\n{self.up.said}"
        )

    def gets_none(self, name: str, *, within: float) -> None:
        """For the time of 100 calls."""

        def quiet() -> bool:
            before = self.answers(name)
            self.flows(100)
            return self.answers(name) == before

        eventually(quiet, within=within, what=lambda: str(self.read()))

    @contextlib.contextmanager
    def watched(self) -> Iterator["Seen"]:
        """What happens in the block, and to the 200 calls after it."""
        began, known = time.monotonic(), len(self.read().failures)
        before = sum(self.read().done.values())
        seen = Seen(began)
        yield seen
        seen.report = self.flows()
        seen.failures = seen.report.failures[known:]
        seen.calls = sum(seen.report.done.values()) - before

    def kill(self, *words: str) -> None:
        os.kill(self.up.pid(*words), signal.SIGKILL)

    def certificates(self) -> tuple[str, ...]:
        """Those in use, as the proxies have them on file."""
        return tuple(path.read_text() for path in sorted((self.up.state / "proxies").glob("*/certs/default.json")))

    @contextlib.contextmanager
    def running(self, *arguments: str, PYTHONPATH: str = "") -> Iterator["World"]:
        """Until the block is left; then it has to end in order, without a traceback."""
        with Up(self.path, state=self.folder / "s", arguments=arguments, PYTHONPATH=PYTHONPATH) as self.up:
            self.up.ready()
            eventually(self.report.exists, within=15, what=lambda: self.up.said)
            yield self
            self.up.process.send_signal(signal.SIGINT)
            assert self.up.ended(within=10) == 0
            assert "Traceback" not in self.up.said, self.up.said

    def well(self) -> "World":
        """Once every replica gets calls and no call fails any more."""
        for name in ("web-v1", "web-v2", "aside"):
            self.gets_calls(name)
        eventually(self._calm, within=20, what=lambda: str(self.read().failures[-10:]))
        return self

    def _calm(self) -> bool:
        with self.watched() as seen:
            pass
        return not seen.failures


class Seen:
    """What became of the calls of a while; filled in when that is over."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.report: Report
        self.failures: list[Failure] = []
        self.calls = 0

    def at(self, failure: Failure) -> float:
        """Seconds since the block began."""
        return self.report.began + failure.at - self.began

    def __str__(self) -> str:
        lines = [f"{self.at(each):7.3f} {each.lane}: {each.what}" for each in self.failures]
        return "\n".join([f"{self.calls} calls, {len(lines)} failed", *lines[:60]])
