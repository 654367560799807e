"""How the agent tells its surroundings what happens: a plain callable that takes an event and its fields.

Not a logging framework; whoever runs the agent decides what becomes of an event.
"""

from typing import Protocol


class Log(Protocol):
    """Takes one event: a dotted name (`envoy.exited`) and its fields. Must not raise and must not block."""

    def __call__(self, event: str, /, **fields: object) -> None: ...


class Output(Protocol):
    """Takes one line (without its end) that the application of the workload `name` wrote to stdout or stderr."""

    def __call__(self, name: str, line: str, /) -> None: ...


def silent(event: str, /, **fields: object) -> None:
    """A `Log` that drops everything."""


def discard(name: str, line: str, /) -> None:
    """An `Output` that drops everything."""
