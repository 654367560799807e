"""`get -w`: every change once, in the formats of `get`, whatever the Manager does meanwhile."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec import structs

from core.model.config import ConfigKey
from istioctl.client import Api
from istioctl.names import find_kind
from istioctl.streaming import printer
from istioctl.testing.alone import ApiAlone, Run
from istioctl.watching import Change, Subject, Watcher

KIND = find_kind("vs")
PATIENCE = 20


def rule(name: str, host: str = "reviews") -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec: {{hosts: [{host}], http: [{{route: [{{destination: {{host: {host}}}}}]}}]}}
"""


class Watching:
    """A watcher in a thread of its own, and what it says."""

    def __init__(self, state: Path, name: str = "") -> None:
        self.said: list[str] = []
        self.spoke = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._api = Api(state)
        self._watcher = Watcher(self._api, Subject(KIND, "default", name), say=self._say, sleep=lambda _: None)
        self._changes: Any = None

    def _say(self, text: str) -> None:
        self.said.append(text)
        self._loop.call_soon_threadsafe(self.spoke.set)

    async def begin(self) -> list[str]:
        found = await asyncio.to_thread(self._watcher.begin)
        self._changes = self._watcher.changes()
        return [each.metadata.name for each in found]

    def close(self) -> None:
        with self._api, contextlib.closing(self._changes):
            """Both are given up."""

    async def next(self) -> tuple[str, str]:
        change = await asyncio.wait_for(asyncio.to_thread(next, self._changes), PATIENCE)
        return change.type, change.resource.metadata.name


Watch = Callable[..., Watching]


@pytest.fixture
async def manager(istioctl: Run, state_dir: Path) -> AsyncIterator[ApiAlone]:
    running = ApiAlone(istioctl)
    async with running.serving(state_dir):
        yield running


@pytest.fixture
async def watch(state_dir: Path) -> AsyncIterator[Watch]:
    """Of all objects, or the one of this name."""
    begun: list[Watching] = []

    def begin(name: str = "") -> Watching:
        begun.append(Watching(state_dir, name))
        return begun[-1]

    yield begin
    for each in begun:
        each.close()


async def test_changes_follow_what_there_was(manager: ApiAlone, watch: Watch) -> None:
    """Made, changed, removed: each once and in order; of one object only its own."""
    await manager.istioctl("apply", "-f", "-", stdin=rule("a"))
    all_of_them, one = watch(), watch("b")
    assert (await all_of_them.begin(), await one.begin()) == (["a"], [])
    await manager.istioctl("apply", "-f", "-", stdin=rule("b"))
    await manager.istioctl("apply", "-f", "-", stdin=rule("a", "ratings"))
    await manager.istioctl("delete", "vs", "a", "b")
    assert [await all_of_them.next() for _ in range(4)] == [
        ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "a"), ("DELETED", "b")]  # fmt: skip
    assert [await one.next() for _ in range(2)] == [("ADDED", "b"), ("DELETED", "b")]
    assert all_of_them.said == []


async def test_a_manager_that_comes_back_is_gone_on_with(istioctl: Run, state_dir: Path, watch: Watch) -> None:
    """What happened while it was away is told, from the version where the watch was."""
    running = ApiAlone(istioctl)
    async with running.serving(state_dir):
        await running.istioctl("apply", "-f", "-", stdin=rule("a"))
        watching = watch()
        await watching.begin()
        await running.istioctl("apply", "-f", "-", stdin=rule("b"))
        assert await watching.next() == ("ADDED", "b")
        coming = asyncio.create_task(watching.next())
    await asyncio.wait_for(watching.spoke.wait(), PATIENCE)
    await running.store.delete(ConfigKey("networking.istio.io", "VirtualService", "default", "a"))
    async with running.serving(state_dir):
        assert await coming == ("DELETED", "a")
        assert "no Manager is running" in watching.said[0]
        assert watching.said[1:] == ["the Manager is back"]


async def test_a_manager_that_does_not_remember_is_compared_with(istioctl: Run, state_dir: Path, watch: Watch) -> None:
    """Another store: what is gone, what is new and what is different is told, and what is the same is not."""
    running = ApiAlone(istioctl)
    async with running.serving(state_dir):
        for name in ("a", "b", "c"):
            await running.istioctl("apply", "-f", "-", stdin=rule(name))
        watching = watch()
        await watching.begin()
        coming = asyncio.create_task(watching.next())
    await asyncio.wait_for(watching.spoke.wait(), PATIENCE)
    _, b, c = await running.store.list()
    running.store = ApiAlone(istioctl).store
    await running.store.put(structs.replace(b, revision="", spec=b'{"hosts": ["ratings"]}'))
    await running.store.put(structs.replace(c, revision="", key=structs.replace(c.key, name="d")))
    async with running.serving(state_dir):
        found = {await coming, *[await watching.next() for _ in range(3)]}
        assert found == {("DELETED", "a"), ("DELETED", "c"), ("MODIFIED", "b"), ("ADDED", "d")}
        assert any("does not remember" in each for each in watching.said)


async def test_a_stream_has_the_formats_of_get(manager: ApiAlone) -> None:
    """A table that grows, objects one after the other, names; with the event if that is asked for."""
    await manager.istioctl("apply", "-f", "-", stdin=rule("a"))
    with Api(Path(os.environ["ISTIO_STATE_DIR"])) as api:
        (found,) = await asyncio.to_thread(api.list, KIND)
    changes = [Change("ADDED", found), Change("DELETED", found)]

    def text(output: str) -> str:
        return printer(KIND, output=output, namespaces=True, events=True)(changes)

    assert [line.split()[:3] for line in text("table").splitlines()] == [
        ["EVENT", "NAMESPACE", "NAME"], ["ADDED", "default", "a"], ["DELETED", "default", "a"]]  # fmt: skip
    assert [each["type"] for each in yaml.safe_load_all(text("yaml"))] == ["ADDED", "DELETED"]
    first, end = json.JSONDecoder().raw_decode(text("json"))
    assert (first["object"]["metadata"]["name"], text("json")[end:].lstrip()[:1]) == ("a", "{")
    assert text("name").splitlines()[1] == "DELETED virtualservice.networking.istio.io/a"


@pytest.mark.parametrize("words", [["vs,dr"], ["all"], ["vs", "a", "b"]])
def test_one_kind_is_watched(words: list[str], istioctl: Run) -> None:
    """As kubectl has it: one kind, and one object of it or all."""
    result = istioctl("get", *words, "-w")
    assert (result.exit_code, "-w watches one kind" in result.stderr) == (2, True)


async def test_a_watch_ends_with_ctrl_c_and_with_its_reader(manager: ApiAlone) -> None:
    """130 after Ctrl-C; silence when nobody reads any more. Each line is there at once."""
    await manager.istioctl("apply", "-f", "-", stdin=rule("a"))
    command = [sys.executable, "-c", "from istioctl.cli import main; main()", "get", "vs", "-w", "-o", "name"]

    def started() -> "subprocess.Popen[str]":
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    with started() as stopped, started() as unread:
        for each in (stopped, unread):
            assert each.stdout
            assert await asyncio.to_thread(each.stdout.readline) == "virtualservice.networking.istio.io/a\n"
        stopped.send_signal(signal.SIGINT)
        assert unread.stdout
        unread.stdout.close()
        await manager.istioctl("apply", "-f", "-", stdin=rule("b"))
        assert await asyncio.to_thread(stopped.wait, PATIENCE) == 130
        await asyncio.to_thread(unread.wait, PATIENCE)
        assert unread.stderr
        assert unread.stderr.read() == ""
