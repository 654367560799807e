"""What a person sees while a mesh runs here: short lines with what happened, to whom, and what to do about it."""

import time
from collections.abc import Callable

from istioctl.output import say

_TOLD = {
    "envoy.exited": "Envoy ended ({how}): {reason}. Starting it again. {fix}",
    "envoy.unstartable": "Envoy cannot start: {reason} {fix}",
    "envoy.port_taken": "{reason} {fix}",
    "application.exited": "{command} ended ({how}). Starting it again.",
    "application.ended": "{command} ended ({how}).",
    "application.unstartable": "cannot start: {reason} {fix}",
    "manager.exited": "ended ({how}); traffic flows on. Starting it again. {reason}",
    "manager.unstartable": "cannot start: {reason} {fix}",
}
"""Events that a person should hear of, and in which words. All others are silent."""


class Talk:
    """Prints events, output of applications, and progress. `clock` gives seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()

    def event(self, event: str, /, **fields: object) -> None:
        words = _TOLD.get(event)
        if words is not None:
            name = str(fields.get("workload", event.partition(".")[0]))
            self.line(name, " ".join(words.format_map(_Fields(fields)).split()))

    def line(self, name: str, text: str) -> None:
        say(f"{name:<28} {text}")

    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._began


class _Fields(dict[str, object]):
    def __missing__(self, key: str) -> str:
        return ""
