"""`history` and `rollback` against a real config API over a store in memory."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from core.diagnostics import Diagnostic, Severity
from core.model.config import ConfigKey
from istioctl.testing.alone import ApiAlone, Run

KEY = ConfigKey("networking.istio.io", "VirtualService", "default", "reviews")


def rule(weight: int) -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews, labels: {{team: a}}}}
spec:
  hosts: [reviews]
  http:
  - route:
    - {{destination: {{host: reviews, subset: v1}}, weight: {weight}}}
    - {{destination: {{host: reviews, subset: v2}}, weight: {100 - weight}}}
"""


class Manager(ApiAlone):
    async def weight(self) -> int | None:
        """The first share that is stored now."""
        document = await self.store.get(KEY)
        return json.loads(document.spec)["http"][0]["route"][0]["weight"] if document else None


@pytest.fixture
async def manager(istioctl: Run, state_dir: Path) -> AsyncIterator[Manager]:
    running = Manager(istioctl)
    async with running.serving(state_dir):
        yield running


async def test_history_says_who_changed_what(manager: Manager) -> None:
    """A line for each change with the user's name, and what is found wrong with the object now."""
    for weight in (90, 50):
        await manager.istioctl("apply", "-f", "-", stdin=rule(weight))
    found = Diagnostic(code="IST0101", severity=Severity.ERROR, message="no such subset", fix="define it")
    manager.findings[KEY] = (found,)
    result = await manager.istioctl("history", "vs", "reviews")
    lines = [line.split("   ") for line in result.stdout.splitlines()]
    (user,) = {each.author for each in await manager.store.history(KEY)}
    assert user
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["REVISION", "1", "2"]
    assert all(user in "   ".join(line) for line in lines[1:])
    assert "spec.http[0].route[0].weight: 90 -> 50, and 1 more" in result.stdout
    assert result.stderr == "Error [IST0101]: no such subset; define it\n"
    for output, load in (("json", json.loads), ("yaml", yaml.safe_load)):
        shown = load((await manager.istioctl("history", "vs", "reviews", "-o", output)).stdout)
        assert [each["revision"] for each in shown["revisions"]] == ["1", "2"]


async def test_a_rollback_can_be_rolled_back(manager: Manager) -> None:
    """Back, and back again; the difference is on stderr, what was applied on stdout."""
    for weight in (90, 50):
        await manager.istioctl("apply", "-f", "-", stdin=rule(weight))
    result = await manager.istioctl("rollback", "vs", "reviews")
    assert result.exit_code == 0
    assert "--- now\n+++ revision 1\n" in result.stderr
    changed = [line.split() for line in result.stderr.splitlines() if "weight" in line]
    assert changed == [["-", "weight:", "50"], ["+", "weight:", "90"], ["-", "weight:", "50"], ["+", "weight:", "10"]]
    assert "virtualservice.networking.istio.io/reviews configured" in result.stderr
    assert await manager.weight() == 90
    applied = yaml.safe_load(result.stdout)
    assert applied["metadata"] == {"name": "reviews", "namespace": "default", "labels": {"team": "a"}}
    assert (await manager.istioctl("apply", "-f", "-", stdin=result.stdout)).stdout.endswith(" unchanged\n")
    await manager.istioctl("rollback", "vs", "reviews")
    assert await manager.weight() == 50


async def test_a_revision_can_be_named(manager: Manager) -> None:
    """Any that is remembered; one that is not is an error that says where to look."""
    for weight in (10, 20, 30):
        await manager.istioctl("apply", "-f", "-", stdin=rule(weight))
    assert (await manager.istioctl("rollback", "vs", "reviews", "--to", "1")).exit_code == 0
    assert await manager.weight() == 10
    missing = await manager.istioctl("rollback", "vs", "reviews", "--to", "77")
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "VirtualService reviews has no revision 77 that is remembered" in missing.stderr
    assert "istioctl history virtualservice reviews" in missing.stderr


async def test_a_rehearsed_rollback_writes_nothing(manager: Manager) -> None:
    """It prints the same."""
    for weight in (10, 20):
        await manager.istioctl("apply", "-f", "-", stdin=rule(weight))
    result = await manager.istioctl("rollback", "vs", "reviews", "--dry-run", "-o", "json")
    assert json.loads(result.stdout)["spec"]["http"][0]["route"][0]["weight"] == 10
    assert result.stderr.endswith("(dry run: nothing was written)\n")
    assert await manager.weight() == 20


async def test_what_was_deleted_comes_back(manager: Manager) -> None:
    """As it was before; its deletion itself is no state to go back to."""
    await manager.istioctl("apply", "-f", "-", stdin=rule(10))
    await manager.istioctl("delete", "vs", "reviews")
    assert (await manager.istioctl("rollback", "vs", "reviews", "--to", "2")).exit_code == 1
    result = await manager.istioctl("rollback", "vs", "reviews")
    assert "virtualservice.networking.istio.io/reviews created" in result.stderr
    assert await manager.weight() == 10


async def test_there_is_no_way_back_before_the_beginning(manager: Manager) -> None:
    """An object that was only ever created, and one that nobody knows."""
    await manager.istioctl("apply", "-f", "-", stdin=rule(10))
    result = await manager.istioctl("rollback", "vs", "reviews")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there was no VirtualService reviews before the last change" in result.stderr
    assert "istioctl delete virtualservice reviews" in result.stderr
    for command in ("rollback", "history"):
        nobody = await manager.istioctl(command, "vs", "nobody")
        assert nobody.exit_code == 1
        assert '"nobody" not found, and not remembered' in nobody.stderr


async def test_history_shows_each_change_in_full(manager: ApiAlone) -> None:
    """With --diff: who, when, what was found wrong then, and a unified diff; formats have it all anyway."""
    for weight in (90, 50):
        await manager.istioctl("apply", "-f", "-", stdin=rule(weight))
    await manager.istioctl("delete", "vs", "reviews")
    first, second, last = (await manager.istioctl("history", "vs", "reviews", "--diff")).stdout.split("\n\n")
    assert "--- before\n+++ revision 1\n" in first
    assert "-      weight: 90\n" in second
    assert "+      weight: 50\n" in second
    assert last.startswith("revision 3, ")
    assert "-kind: VirtualService\n" in last
    assert (await manager.istioctl("history", "vs", "reviews", "--diff", "-o", "json")).exit_code == 2
