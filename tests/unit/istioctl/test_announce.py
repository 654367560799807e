"""What `istioctl up` tells a person to try next works from a second terminal."""

from pathlib import Path

import pytest

from istioctl.local.announce import hints, place
from istioctl.local.talk import Talk, sentence
from istioctl.options import default_state_dir
from platforms.local.addresses import Allocator
from platforms.local.decode import decode
from platforms.local.plan import Plan, plan

MESH = """\
services:
  pages:
    ports: [9080/http]
    workloads: {v1: {command: pages}}
  books.shop:
    ports: [80/http, 90/tcp]
    workloads: {v1: {command: books}}
"""
CLIENT = "  client:\n    workloads: {shell: {command: sleep 1}}\n"


def planned(text: str) -> Plan:
    file = decode(text, name="mesh.yaml").file
    assert file is not None
    return plan(file, Allocator(0))


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ISTIO_STATE_DIR", raising=False)
    monkeypatch.setattr("sys.argv", ["-c"])


def test_the_call_starts_at_a_pure_client_and_leads_to_the_first_service() -> None:
    """With a client in the file, it is the caller; a name of its own namespace needs no suffix."""
    said = "\n".join(hints(planned(MESH + CLIENT), default_state_dir()))
    assert "as client-shell does" in said
    assert "curl -x http://127.16.0.3:15007 http://pages:9080/" in said


def test_in_pods_the_call_is_made_inside_the_callers(tmp_path: Path) -> None:
    """The URL is the same."""
    file = decode(MESH + CLIENT, name="mesh.yaml").file
    assert file is not None
    said = "\n".join(hints(plan(file, Allocator(0), capture="redirect"), tmp_path))
    assert f"istioctl --state-dir {tmp_path} enter client-shell -- curl http://pages:9080/" in said


def test_without_a_client_a_service_calls_another() -> None:
    """Nobody is told to call itself, and a service of another namespace is called by name and namespace."""
    said = "\n".join(hints(planned(MESH), default_state_dir()))
    assert "curl -x http://127.16.0.1:15007 http://books.shop:80/" in said


@pytest.mark.parametrize(
    "text",
    [
        "services: {}\n",
        f"services:\n{CLIENT}",
        f"services:\n  db: {{ports: [1/redis]}}\n{CLIENT}",
        "services: {a: {ports: [80]}}\n",
    ],
)
def test_where_nobody_can_be_called_no_call_is_shown(text: str) -> None:
    """No workload, no service, or none that speaks HTTP."""
    assert "curl" not in "\n".join(hints(planned(text), default_state_dir()))


def test_the_command_works_in_a_fresh_shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The state directory is spelt out unless a fresh shell takes the same; a command not on PATH has its path."""
    nothing = planned("services: {}\n")
    assert "  istioctl apply -f rule.yaml" in hints(nothing, default_state_dir())
    assert "  istioctl --state-dir '/tmp/a b' apply -f rule.yaml" in hints(nothing, Path("/tmp/a b"))
    monkeypatch.setenv("ISTIO_STATE_DIR", "/tmp/elsewhere")
    assert "  istioctl --state-dir /tmp/elsewhere apply -f rule.yaml" in hints(nothing, default_state_dir())
    monkeypatch.delenv("ISTIO_STATE_DIR")
    (tmp_path / "istioctl").touch(0o755)
    monkeypatch.setattr("sys.argv", [str(tmp_path / "istioctl")])
    assert f"  {tmp_path}/istioctl apply -f rule.yaml" in hints(nothing, default_state_dir())
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "  istioctl apply -f rule.yaml" in hints(nothing, default_state_dir())


def test_sentences() -> None:
    """Texts can follow each other whether or not they end with a full stop."""
    assert [sentence(text) for text in ("", "taken", "Stop it.", " Why? ")] == ["", "taken.", "Stop it.", "Why?"]


def test_events_are_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    """A Manager that dies before it ever served is not said to leave traffic flowing; unknown events are silent."""
    talk = Talk(clock=lambda: 0.0)
    talk.event("manager.exited", how="exit code 1", reason="error: no room", effect="")
    talk.event("manager.exited", how="killed by SIGKILL", effect="; traffic flows on")
    talk.event("envoy.started", pid=1)
    first, second = (" ".join(line.split()) for line in capsys.readouterr().err.splitlines())
    assert first == "manager ended (exit code 1). Starting it again. error: no room."
    assert second == "manager ended (killed by SIGKILL); traffic flows on. Starting it again."


def test_a_gateway_is_told_as_people_call_it() -> None:
    """With an address for each port; and it is nobody's client."""
    gateways = "gateways: {ingress: {ports: {80: 8080, 443: 8443}}}\n"
    mesh = planned(MESH + gateways)
    (ingress,) = (workload for workload in mesh.workloads if workload.role == "gateway")
    assert place(ingress) == "http://127.0.0.1:8080 (port 80), https://127.0.0.1:8443 (port 443)"
    assert hints(mesh, default_state_dir()) == hints(planned(MESH), default_state_dir())
