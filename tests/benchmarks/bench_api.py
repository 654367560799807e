"""What the config API of a running mesh costs those who use it: how soon they are told, how fast they may write.

    bench_api.py [--seconds 30] [--objects 5000] [--documents 1000]

`istioctl up` with real Envoys beside it, asked over HTTPS as any client asks. (a) from a write to the event at a client
that watches, (b) a long list against the same JSON from a file, (c) 100 writes a second: whether the proxies fall
behind, (d) `istioctl apply` of many documents. Prints a row per target; the exit code is the number of targets missed.
"""

import argparse
import base64
import http.client
import json
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from istioctl.local.testing import MeshFile, Up
from istioctl.testing.rules import http_rule

sys.path.insert(0, str(Path(__file__).parent))
import bench_store as bare  # type: ignore[import-not-found]  # a script beside this one

CHANGES, PAUSE = 200, 0.02
RATE, WRITERS = 100, 8
"""Writes a second, and the connections over which they come: none waits for the answer of another."""
LOOK = 0.2
RULES = "/apis/networking.istio.io/v1/namespaces/default/virtualservices"
QUIET = "nowhere"
"""A namespace without proxies: what is exported only there is stored, and sent to nobody."""

ECHO = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
line, _ = listener.accept()
line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
while got := line.recv(65536):
    line.sendall(got)
"""


class Client:
    """One connection to the config API, as the kubeconfig of the mesh says."""

    def __init__(self, kubeconfig: Path) -> None:
        said = json.loads(kubeconfig.read_text())
        cluster, user = said["clusters"][0]["cluster"], said["users"][0]["user"]
        where = urlsplit(cluster["server"])
        trust = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        self._line = http.client.HTTPSConnection(where.hostname or "", where.port, timeout=30, context=trust)
        self._headers = {"authorization": f"Bearer {user['token']}"}

    def open(self, method: str, path: str, body: object = None, *, type: str = "json") -> http.client.HTTPResponse:
        headers = {**self._headers, "content-type": f"application/{type}"}
        self._line.request(method, path, msgspec.json.encode(body) if body else None, headers)
        answer = self._line.getresponse()
        assert answer.status < 300, (answer.status, answer.read())
        return answer

    def ask(self, method: str, path: str, body: object = None, *, type: str = "json") -> bytes:
        return self.open(method, path, body, type=type).read()

    def make(self, name: str, namespace: str, spec: object) -> None:
        metadata = {"name": name, "namespace": namespace}
        made = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata, "spec": spec}
        self.ask("POST", RULES.replace("default", namespace), made)

    def change(self, path: str, spec: object) -> int:
        """The revision that it has now."""
        answer = self.ask("PATCH", path, {"spec": spec}, type="merge-patch+json")
        return int(json.loads(answer)["metadata"]["resourceVersion"])


# -- the floor ---------------------------------------------------------------------------------------------------------


def round_trips() -> list[float]:
    """Milliseconds of a byte to another process and back, over TCP on the loopback interface; sorted."""
    import socket

    with subprocess.Popen([sys.executable, "-c", ECHO], stdout=subprocess.PIPE, text=True) as echo:
        assert echo.stdout
        with socket.create_connection(("127.0.0.1", int(echo.stdout.readline()))) as line:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            taken = []
            for _ in range(CHANGES):
                time.sleep(PAUSE / 10)
                began = time.perf_counter()
                line.sendall(b"x")
                line.recv(1)
                taken.append((time.perf_counter() - began) * 1000)
    return sorted(taken)


# -- (a) watching ------------------------------------------------------------------------------------------------------


def deliveries(kubeconfig: Path) -> list[float]:
    """Milliseconds from before each write until a watching client has its event; sorted."""
    writer, watcher = Client(kubeconfig), Client(kubeconfig)
    writer.make(
        "timed", QUIET, {"hosts": ["timed.test"], "exportTo": ["."], "http": [{"timeout": "1s", **_to("timed.test")}]}
    )
    path = RULES.replace("default", QUIET)
    since = json.loads(writer.ask("GET", path))["metadata"]["resourceVersion"]
    events = watcher.open("GET", f"{path}?watch=true&resourceVersion={since}")
    began: dict[str, float] = {}
    taken: list[float] = []

    def read() -> None:
        while len(taken) < CHANGES:
            event = json.loads(events.readline())
            now = time.perf_counter()
            if event["type"] == "MODIFIED":
                taken.append((now - began[event["object"]["spec"]["http"][0]["timeout"]]) * 1000)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(2, CHANGES + 2):
        time.sleep(PAUSE)
        timeout = f"{number}s"
        began[timeout] = time.perf_counter()
        writer.change(f"{path}/timed", {"http": [{"timeout": timeout, **_to("timed.test")}]})
    reader.join(30)
    writer.ask("DELETE", f"{path}/timed")
    return sorted(taken)


def _to(host: str) -> dict[str, object]:
    return {"route": [{"destination": {"host": host}}]}


# -- (b) a long list ---------------------------------------------------------------------------------------------------


@contextmanager
def stored(up: Up, count: int) -> Iterator[None]:
    """That many rules of a namespace without proxies."""
    file = up.state.parent / "many.yaml"
    file.write_text(_documents(count, namespace=QUIET, more="  exportTo: ['.']\n"))
    apply(up, file)
    yield
    assert up.istioctl("delete", "-f", str(file)).returncode == 0


def list_ratio(kubeconfig: Path, folder: Path, count: int) -> tuple[float, float, float]:
    """Of ours to the floor, in turn; and both in milliseconds."""
    client, file = Client(kubeconfig), folder / "list.json"
    path = RULES.replace("default", QUIET)
    file.write_bytes(client.ask("GET", path))
    assert len(json.loads(file.read_bytes())["items"]) == count
    ours = _median(lambda: client.ask("GET", path))
    floor = _median(lambda: msgspec.json.encode(msgspec.json.decode(file.read_bytes())))
    return ours / floor, ours, floor


def _median(work: Callable[[], object]) -> float:
    """Milliseconds."""
    taken = []
    for _ in range(bare.ROUNDS):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


# -- (c) many writes ---------------------------------------------------------------------------------------------------


class Backlog:
    """How many writes the slowest proxy is behind, looked at again and again while others write."""

    def __init__(self, kubeconfig: Path) -> None:
        self._client = Client(kubeconfig)
        self._acked = dict.fromkeys(range(WRITERS), 0)
        self.written: list[tuple[int, int]] = []
        """Who wrote, and the revision that this made."""
        self.seen: list[tuple[float, int]] = []
        """Seconds, and writes."""

    def look(self, at: float) -> int:
        status = json.loads(self._client.ask("GET", "/status"))
        least = min(proxy["generation"] for proxy in status["proxies"])
        for each in status["progress"]["documents"]:
            if each["document"]["name"].startswith("written-") and each["generation"] <= least:
                self._acked[int(each["document"]["name"].removeprefix("written-"))] = int(each["revision"])
        behind = sum(revision > self._acked[writer] for writer, revision in tuple(self.written))
        self.seen.append((at, behind))
        return behind

    def slope(self) -> float:
        """Writes by which the backlog grows in a second, by least squares; the first second is not looked at."""
        points = [(at, behind) for at, behind in self.seen if at > 1]
        return statistics.linear_regression(*zip(*points, strict=True)).slope


def write_some(kubeconfig: Path, writer: int, seconds: float, backlog: Backlog) -> None:
    """Its part of the rate, over a connection of its own. Each write changes what the proxies do."""
    client, began = Client(kubeconfig), time.perf_counter()
    for number in range(int(seconds * RATE / WRITERS)):
        time.sleep(max(0.0, began + number * WRITERS / RATE - time.perf_counter()))
        spec = {"http": [{"timeout": f"{number + 1}s", **_to("web")}]}
        backlog.written.append((writer, client.change(f"{RULES}/written-{writer}", spec)))


def under_writes(kubeconfig: Path, seconds: float) -> tuple[float, Backlog, float]:
    """Writes a second; the backlog meanwhile; seconds until there was none."""
    client, backlog = Client(kubeconfig), Backlog(kubeconfig)
    for number in range(WRITERS):
        client.make(f"written-{number}", "default", {"hosts": [f"written-{number}.test"], "http": [_to("web")]})
    work = [(kubeconfig, number, seconds, backlog) for number in range(WRITERS)]
    writers = [threading.Thread(target=write_some, args=each) for each in work]
    began = time.perf_counter()
    for each in writers:
        each.start()
    while any(each.is_alive() for each in writers):
        backlog.look(time.perf_counter() - began)
        time.sleep(LOOK)
    ended = time.perf_counter()
    while backlog.look(ended - began):
        time.sleep(LOOK / 10)
    rest = time.perf_counter() - ended
    client = Client(kubeconfig)
    for number in range(WRITERS):
        client.ask("DELETE", f"{RULES}/written-{number}")
    return len(backlog.written) / (ended - began - LOOK), backlog, rest


# -- (d) many documents ------------------------------------------------------------------------------------------------


def _documents(count: int, *, namespace: str = "default", more: str = "") -> str:
    """Rules for hosts of their own, which every proxy of the namespace has to know."""
    texts = []
    for number in range(count):
        text = http_rule(f"host-{number}.test", "{route: [{destination: {host: web}}], timeout: 5s}")
        texts.append(text.replace("}\nspec:\n", f", namespace: {namespace}}}\nspec:\n{more}"))
    return "---\n".join(texts)


def apply(up: Up, file: Path, *options: str) -> float:
    """Seconds."""
    began = time.perf_counter()
    done = up.istioctl("apply", "-f", str(file), *options)
    assert done.returncode == 0, done.stderr
    return time.perf_counter() - began


def applied(up: Up, count: int) -> tuple[float, float]:
    """Seconds of `istioctl apply`, and of one that waits until all proxies have taken it."""
    file = up.state.parent / "documents.yaml"
    file.write_text(_documents(count))
    taken = apply(up, file)
    assert up.istioctl("delete", "-f", str(file)).returncode == 0
    waited = apply(up, file, "--wait=30")
    assert up.istioctl("delete", "-f", str(file)).returncode == 0
    return taken, waited


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--seconds", type=float, default=30)
    options.add_argument("--objects", type=int, default=5000)
    options.add_argument("--documents", type=int, default=1000)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-api-") as name:
        folder = Path(name)
        with Up(MeshFile(folder).path, state=folder / "state") as up:
            return measured(up.ready(), chosen.seconds, chosen.objects, chosen.documents)


def measured(up: Up, seconds: float, objects: int, documents: int) -> int:
    """The number of targets missed."""
    kubeconfig = up.state / "kubeconfig"
    rate, backlog, rest = under_writes(kubeconfig, seconds)
    missed: int = bare.row(f"(c) of {RATE} writes a second were not made", RATE / 20, max(0.0, RATE - rate))
    missed += bare.row(f"(c) backlog at {RATE} writes a second grows by", 1, backlog.slope(), "/s")
    bare.note(
        "    writes a second; most behind; seconds to the end", _three(rate, max(n for _, n in backlog.seen), rest)
    )
    floor, told = round_trips(), deliveries(kubeconfig)
    missed += bare.row("(a) a client is told of a write, p99", 20.0, told[CHANGES * 99 // 100], " ms")
    middle = floor[CHANGES // 2]
    bare.note(
        "    median; a bare round trip; p50 and p99 in round trips",
        _three(told[CHANGES // 2], middle, told[CHANGES // 2] / middle) + f", {told[CHANGES * 99 // 100] / middle:.0f}",
    )
    taken, waited = applied(up, documents)
    missed += bare.row(f"(d) istioctl apply of {documents} documents", 5.0, taken, " s")
    bare.note("    until all proxies have taken it", f"{waited:.2f} s")
    with stored(up, objects):
        ratio, ours, file = list_ratio(kubeconfig, up.state.parent, objects)
    missed += bare.row(f"(b) list of {objects} / the same from a JSON file", 2.0, ratio)
    bare.note("    list: ours, from a file", f"{ours:.1f}, {file:.1f} ms")
    return missed


def _three(*numbers: float) -> str:
    return ", ".join(f"{each:.2f}" for each in numbers)


if __name__ == "__main__":
    sys.exit(main())
