"""Writes and watches go on while one of two Managers is killed, again and again: what was acknowledged, happened once.

Clients here are as client-go: who gets no answer looks what has become of it, and whose watch breaks off goes on from
the last version it was told.
"""

import base64
import http.client
import json
import os
import random
import signal
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from core.manager.paths import kubeconfig
from istioctl.local.testing import MeshFile, Up, eventually
from istioctl.managers import answers, sockets
from istioctl.transport import UnixSocket

pytestmark = [pytest.mark.envoy, pytest.mark.slow, pytest.mark.timeout(90)]

KILLS = 6
RULES = "/apis/networking.istio.io/v1/namespaces/default/virtualservices"


class Client:
    """By the socket of one Manager, or by HTTPS to any of them."""

    def __init__(self, state: Path, number: int) -> None:
        self._socket = UnixSocket(sockets(state)[number % 2]) if number < 2 else None
        config = json.loads(kubeconfig(state).read_bytes())
        cluster = config["clusters"][0]["cluster"]
        self._place = cluster["server"].removeprefix("https://")
        self._trust = ssl.create_default_context(
            cadata=base64.b64decode(cluster["certificate-authority-data"]).decode()
        )
        self._headers = {"Authorization": f"Bearer {config['users'][0]['user']['token']}"}

    def connection(self) -> http.client.HTTPConnection:
        if self._socket is not None:
            return self._socket.connection(10)
        return http.client.HTTPSConnection(self._place, timeout=10, context=self._trust)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """The HTTP status and the object; 0 without an answer."""
        connection = self.connection()
        try:
            connection.request(method, path, json.dumps(body) if body else None, self._headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            return 0, None
        finally:
            connection.close()

    def lines(self, path: str) -> Iterator[Any]:
        """Until they break off."""
        connection = self.connection()
        try:
            connection.request("GET", path, headers=self._headers)
            answer = connection.getresponse()
            while answer.status == 200 and (line := answer.readline()):
                yield json.loads(line)
        except (OSError, http.client.HTTPException, ValueError):
            return
        finally:
            connection.close()


def rule(name: str, number: int, version: str) -> object:
    """Every third leads nowhere, so that the leader has something to find."""
    route = {"destination": {"host": "web" if number % 3 else "nowhere"}}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": "default", "resourceVersion": version},
        "spec": {"hosts": [f"{name}.example"], "http": [{"timeout": f"{number}s", "route": [route]}]},
    }


def number_of(thing: Any) -> int:
    return int(thing["spec"]["http"][0]["timeout"][:-1])


class Writer(threading.Thread):
    """Counts up in an object of its own. `acknowledged`: the numbers, and under which version each is stored."""

    def __init__(self, client: Client, name: str, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.name, self._client, self._over = name, client, over
        self.acknowledged: list[tuple[int, str]] = []
        self.wrong: list[object] = []

    def run(self) -> None:
        number, version = 0, ""
        while not self._over.is_set():
            number += 1
            thing = rule(self.name, number, version)
            code, stored = self._client.ask("PUT" if version else "POST", self._path(version), thing)
            if code in (200, 201):
                version = stored["metadata"]["resourceVersion"]
                self.acknowledged.append((number, version))
                continue
            self.wrong += [] if code in (0, 503) else [(number, code, stored)]
            version = self._looked(version)

    def _path(self, version: str) -> str:
        return f"{RULES}/{self.name}" if version else RULES

    def _looked(self, version: str) -> str:
        while not self._over.is_set():
            code, stored = self._client.ask("GET", f"{RULES}/{self.name}")
            if code == 200:
                last = self.acknowledged[-1][0] if self.acknowledged else 0
                self.wrong += [] if number_of(stored) >= last else [("lost", last, stored)]
                return str(stored["metadata"]["resourceVersion"])
            if code == 404 and not version:
                return ""
            self.wrong += [("gone", stored)] if code == 404 else []
        return version


class Watcher(threading.Thread):
    """`told`: name, number and version of each change and each report."""

    def __init__(self, client: Client, since: str) -> None:
        super().__init__(daemon=True)
        self._client, self._at = client, since
        self.told: list[tuple[str, int, str]] = []
        self.wrong: list[object] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            for event in self._client.lines(f"{RULES}?watch=true&resourceVersion={self._at}&timeoutSeconds=5"):
                thing = event["object"]
                if event["type"] not in ("ADDED", "MODIFIED"):
                    self.wrong.append(event)
                    return
                self._at = thing["metadata"]["resourceVersion"]
                self.told.append((thing["metadata"]["name"], number_of(thing), self._at))


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    with (
        TemporaryDirectory(prefix="t") as folder,
        Up(MeshFile(Path(folder)).path, state=Path(folder) / "s", arguments=("--managers", "2")) as running,
    ):
        yield running.ready()


def both_answer(up: Up) -> None:
    eventually(lambda: [answers(path) for path in sockets(up.state)] == [True] * 2, within=15, what=lambda: up.said)


def storm(up: Up, random: random.Random) -> None:
    """Kills one or the other at any moment, mostly before the last one is back for long."""
    for _ in range(KILLS):
        wait = threading.Event()
        wait.wait(random.uniform(0.2, 0.9))
        for pid in up.pids("core.manager", f'"number":{random.randint(1, 2)},'):
            os.kill(pid, signal.SIGKILL)


def findings(up: Up, name: str) -> list[str]:
    _, thing = Client(up.state, 0).ask("GET", f"{RULES}/{name}")
    return [each["type"]["code"] for each in thing.get("status", {}).get("validationMessages", [])]


def test_a_storm_of_kills(up: Up) -> None:
    """No acknowledged write is lost, none happens twice; watches have no gap; findings fit; audit lines are whole."""
    both_answer(up)
    over = threading.Event()
    writers = [Writer(Client(up.state, number), f"own{number}", over) for number in range(4)]
    # Whoever begins at version 0, that of an empty store, is shown what there is by then, and not how it came to be.
    Client(up.state, 0).ask("POST", RULES, rule("first", 1, ""))
    _, listed = Client(up.state, 0).ask("GET", RULES)
    watchers = [Watcher(Client(up.state, number), listed["metadata"]["resourceVersion"]) for number in (0, 2)]
    for thread in (*writers, *watchers):
        thread.start()
    storm(up, random.Random(20261122))
    both_answer(up)
    over.set()
    for writer in writers:
        writer.join(15)
    changes = {}
    for writer in writers:
        _, history = Client(up.state, 0).ask("GET", f"{RULES}/{writer.name}/history")
        changes[writer.name] = [(number_of(each["object"]), each["revision"]) for each in history["revisions"]]
        numbers = [number for number, _ in changes[writer.name]]
        assert writer.wrong == []
        assert set(writer.acknowledged) <= set(changes[writer.name]), "an acknowledged write is lost"
        assert numbers == sorted(set(numbers)), "a write happened twice"
        wanted = [] if numbers[-1] % 3 else ["IST0101"]
        eventually(lambda name=writer.name, wanted=wanted: findings(up, name) == wanted, within=5)  # type: ignore[misc]
    every = {(name, *change) for name, found in changes.items() for change in found}
    for watcher in watchers:
        eventually(
            lambda watcher=watcher: every <= set(watcher.told),  # type: ignore[misc]
            within=10,
            what=lambda watcher=watcher: f"{sorted(every - set(watcher.told))} after {watcher.told[-1]}",  # type: ignore[misc]
        )
        watcher.over.set()
        versions = [int(version) for _, _, version in watcher.told]
        assert versions == sorted(set(versions)), "told twice, or not in order"
        assert watcher.wrong == []
    audit = (up.state / "api" / "audit.jsonl").read_text().splitlines()
    assert len([json.loads(line) for line in audit]) >= sum(len(writer.acknowledged) for writer in writers)
    assert sum(len(writer.acknowledged) for writer in writers) > 100
