"""How far a rule has come, in a mesh that runs: told by `apply --wait` and `status`, and proved by calls."""

import json
import os
import signal
from collections.abc import Iterator

import pytest

from istioctl.local.testing import Up, eventually
from istioctl.testing.rules import marked

pytestmark = pytest.mark.envoy


@pytest.fixture
def up(shared: Up) -> Iterator[Up]:
    eventually(lambda: shared.call("client-v1", "http://web/").status == 200, within=10, what=lambda: shared.said)
    yield shared
    shared.istioctl("delete", "vs", "web", "--ignore-not-found")
    eventually(lambda: rule(shared) == "", within=5)


def rule(up: Up) -> str:
    return up.call("client-v1", "http://web/").headers.get("x-rule", "")


def states(up: Up) -> dict[str, str]:
    shown = json.loads(up.istioctl("status", "vs", "web", "-o", "json").stdout)
    return {each["workload"]: each["state"] for each in shown["proxies"]}


def test_what_is_waited_for_is_there(up: Up) -> None:
    """After `apply --wait` the very next call follows the rule, each time."""
    for i in range(10):
        done = up.istioctl("apply", "-f", "-", "--wait=10", stdin=marked(f"r{i}"))
        assert done.returncode == 0, done.stderr
        assert rule(up) == f"r{i}"
        assert "acknowledged by 3 of 3 proxies" in done.stderr


def test_a_proxy_that_does_not_answer_is_named(up: Up) -> None:
    """A stopped Envoy is waited for in vain, the others have acknowledged; when it goes on, so has it."""
    stopped = up.pid("--config-path", "/proxies/client-v1.default/")
    os.kill(stopped, signal.SIGSTOP)
    try:
        done = up.istioctl("apply", "-f", "-", "--wait=1", stdin=marked("late"))
        assert (done.returncode, done.stdout) == (1, "virtualservice.networking.istio.io/web created\n")
        assert "after 1 s client-v1.default had not acknowledged it (1 of 3 proxies)" in done.stderr
        assert states(up) == {
            "client-v1.default": "WAITING",
            "web-v1.default": "ACKNOWLEDGED",
            "web-v2.default": "ACKNOWLEDGED",
        }
    finally:
        os.kill(stopped, signal.SIGCONT)
    eventually(lambda: set(states(up).values()) == {"ACKNOWLEDGED"}, within=10, what=lambda: str(states(up)))
    assert rule(up) == "late"


def test_a_rule_can_be_rolled_back(up: Up) -> None:
    """History knows both states and who made them; calls follow the older one again."""
    for text in ("first", "second"):
        assert up.istioctl("apply", "-f", "-", "--wait=10", stdin=marked(text)).returncode == 0
    shown = json.loads(up.istioctl("history", "vs", "web", "-o", "json").stdout)["revisions"]
    assert shown[-1]["summary"] == "spec.http[0].headers.response.set.x-rule: first -> second"
    assert all(each["author"] for each in shown)
    done = up.istioctl("rollback", "vs", "web")
    assert done.returncode == 0, done.stderr
    eventually(lambda: rule(up) == "first", within=5)
