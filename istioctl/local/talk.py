"""What a person sees while a mesh runs here: short lines with what happened, to whom, and what to do about it."""

import time
from collections.abc import Callable, Iterable

from istioctl.output import say

_TOLD = {
    "agent.recovered": "runs after all",
    "agent.exited": "its agent ended ({how}), and Envoy with it. Starting it again.",
    "agent.said": "{line}",
    "agent.port_taken": "{reason} {fix}",
    "certificate.missing": "has no certificate yet: {reason} {fix}",
    "certificate.renewal_failed": "no new certificate: {reason} {fix} The old one serves on.",
    "certificate.restored": "the files of its certificate had been changed; they are restored",
    "certificate.expired": "the certificate has expired: {reason} {fix}",
    "envoy.exited": "Envoy ended ({how}). Starting it again. {reason} {fix}",
    "envoy.unstartable": "Envoy cannot start: {reason} {fix}",
    "envoy.port_taken": "{reason} {fix}",
    "application.exited": "{command} ended ({how}). Starting it again.",
    "application.ended": "{command} ended ({how}).",
    "application.unstartable": "cannot start: {reason} {fix}",
    "manager.exited": "ended ({how}){effect}. Starting it again. {reason}",
    "manager.hangs": "has not answered for {seconds} s. Ending it.",
    "manager.back": "ready again",
    "manager.unstartable": "cannot start: {reason} {fix}",
}
"""Events that a person should hear of, and in which words. All others are silent."""


BEGINNING = 10.0
"""Seconds in which a part of the mesh may wait for another without a word about it."""


class Talk:
    """Prints events, output of applications, and progress. `clock` gives seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()

    def event(self, event: str, /, **fields: object) -> None:
        """Agents are started together with the Manager, and miss it at first: that is no news while all begins."""
        words = _TOLD.get(event)
        if words is not None and (event != "certificate.missing" or self.elapsed() > BEGINNING):
            name = str(fields.get("workload", event.partition(".")[0]))
            spoken = {key: sentence(str(fields.get(key, ""))) for key in ("reason", "fix")}
            self.line(name, " ".join(words.format_map(_Fields(fields | spoken)).split()))

    def line(self, name: str, text: str) -> None:
        say(f"{name:<28} {text}")

    def text(self, lines: Iterable[str]) -> None:
        """Something to read or to copy, which belongs to no part of the mesh."""
        for line in lines:
            say(line)

    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._began


def sentence(text: str) -> str:
    """`text` ended like one, so that another can follow."""
    stripped = text.strip()
    return f"{stripped}." if stripped and stripped[-1] not in ".!?:" else stripped


class _Fields(dict[str, object]):
    def __missing__(self, key: str) -> str:
        return ""
