"""What an agent that is a process of its own is told, and what it tells: one JSON document in, JSON lines out.

Not for people: for them there is `istio-agent run`.
"""

from collections.abc import Mapping

import msgspec

from core.model.mesh import Mesh
from core.model.workload import Workload
from proxy.binary import Binary
from proxy.process import Command
from proxy.settings import AgentSettings
from proxy.state import State
from proxy.supervise import Pace


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """One agent's work. `command` is the application, if the agent runs it."""

    workload: Workload
    mesh: Mesh = Mesh()
    settings: AgentSettings
    envoy: Binary
    command: Command | None = None
    pace: Pace = Pace()


class Happened(msgspec.Struct, frozen=True, tag="event", tag_field="report"):
    """An event of the agent's log (`proxy.events.Log`)."""

    event: str
    fields: Mapping[str, object] = {}


class Became(msgspec.Struct, frozen=True, tag="state", tag_field="report"):
    """How it stands now. The first says that it is at work."""

    state: State


class Said(msgspec.Struct, frozen=True, tag="output", tag_field="report"):
    """A line of the application's output."""

    line: str


class Failed(msgspec.Struct, frozen=True, tag="failed", tag_field="report"):
    """Something is wrong beforehand (a port is taken); the agent ends."""

    error: str
    fix: str = ""


Report = Happened | Became | Said | Failed


def encode(value: Report | Assignment) -> bytes:
    return msgspec.json.encode(value, enc_hook=str)


def assignment(text: bytes) -> Assignment:
    """Raises `msgspec.DecodeError`."""
    return msgspec.json.decode(text, type=Assignment)


def report(line: str) -> Report | None:
    """None: it is no report, but something that a broken agent said."""
    try:
        found: Report = msgspec.json.decode(line, type=Report)
    except msgspec.DecodeError:
        return None
    return found
