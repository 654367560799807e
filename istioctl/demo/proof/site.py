"""What the steps of the proof work with: calls from outside, istioctl as people use it, and waiting for an effect."""

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from istioctl.demo.entrance import Answer, call
from istioctl.demo.proof import outsider
from istioctl.demo.stage import Stage

AT_ONCE = 8
"""Calls under way at a time."""

PATIENCE = 10.0
"""Seconds until a rule must be in force; mostly it takes some hundredths."""

PAUSE = 0.05

COMMAND_PATIENCE = 30.0

VERSIONS = {"none": "v1", "black": "v2", "red": "v3"}
"""By the colour of the stars: each version of reviews has its own."""


class Failed(Exception):
    """What was seen is not what was promised."""


class Site:
    """The mesh under proof. `outside`: the words that run a program near the workloads, but in no sidecar's care."""

    def __init__(self, stage: Stage, *, outside: tuple[str, ...] = ()) -> None:
        self.stage = stage
        self._outside = outside
        self._over = threading.Event()

    def leave(self) -> None:
        """Nobody waits for a step any more: what is under way in another thread fails soon."""
        self._over.set()

    def eventually(self, look: Callable[[], str], *, within: float | None = None) -> str:
        """What `look` saw, once it does not fail any more. Raises `Failed` with what it saw last. None: `PATIENCE`."""
        patience = PATIENCE if within is None else within
        deadline = time.monotonic() + patience
        while True:
            try:
                return look()
            except Failed as failure:
                if time.monotonic() >= deadline:
                    raise Failed(f"after {patience:g} s still: {failure}") from failure
            if self._over.wait(PAUSE):
                raise Failed("stopped")

    def page(self, **headers: str) -> Answer:
        """One page, from outside. `_` in the names of headers stands for `-`."""
        if self._over.is_set():
            raise Failed("stopped")
        return call(self.stage.entrance, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def pages(self, number: int, **headers: str) -> list[dict[str, object]]:
        """Several, some at a time. Raises `Failed` when one does not come."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(lambda _: self.page(**headers), range(number)))
        bad = [each for each in answers if each.status != 200]
        if bad:
            raise Failed(f"{len(bad)} of {number} pages did not come: {_why(bad[0])}")
        return [each.json() for each in answers]

    def versions(self, number: int, **headers: str) -> Counter[str]:
        """Which versions of reviews were seen on so many pages, and how often; "none" where reviews were missing."""
        return Counter(version(page) for page in self.pages(number, **headers))

    def plainly(self, urls: Sequence[str]) -> list[tuple[int, str]]:
        """What a stranger comes to who calls them in plain HTTP: the status, 0 for no answer, and the words for it."""
        command = [*self._outside, sys.executable, "-I", "-S", outsider.__file__, *urls]
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_PATIENCE)
        if done.returncode:
            raise Failed(f"nobody could be called from outside: {done.stderr.strip()}")
        return msgspec.json.decode(done.stdout, type=list[tuple[int, str]])

    def istioctl(self, *arguments: str, stdin: str = "") -> str:
        """What it printed. Raises `Failed` when it did not work."""
        program = "from istioctl.cli import main; main()"
        where = ("--state-dir", str(self.stage.state))
        done = subprocess.run(
            [sys.executable, "-c", program, *where, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_PATIENCE,
            env={**os.environ, "NO_COLOR": "1"},
        )
        if done.returncode:
            raise Failed(f"istioctl {' '.join(arguments)}: exit code {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def apply(self, *files: Path) -> None:
        self.istioctl("apply", *(word for file in files for word in ("-f", str(file))))


def version(page: dict[str, object]) -> str:
    """Of the reviews on it; "none" when they are missing."""
    reviews = page.get("reviews")
    stars = reviews.get("stars") if isinstance(reviews, dict) else None
    return VERSIONS.get(str(stars), "none")


def part(page: dict[str, object], name: str) -> dict[str, object]:
    found = page.get(name)
    return found if isinstance(found, dict) else {}


def counted(found: Counter[str]) -> str:
    """`v1 22, v2 18, v3 20`"""
    return ", ".join(f"{name} {number}" for name, number in sorted(found.items()))


def _why(answer: Answer) -> str:
    text = answer.body.decode(errors="replace").strip()[:200]
    return f"HTTP {answer.status} {text}" if answer.status else text
