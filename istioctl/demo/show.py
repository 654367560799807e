"""`istioctl demo` from the first line to the last: the mesh, load on it, and the table; then what was removed."""

import asyncio
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from istioctl.demo import words
from istioctl.demo.load import Load
from istioctl.demo.rates import Window
from istioctl.demo.scrape import scrape
from istioctl.demo.screen import Scene, Screen
from istioctl.demo.settings import MESH_FILE, Settings
from istioctl.demo.stage import Stage, served, stage
from istioctl.demo.traffic import rows
from istioctl.local.capture import chosen
from istioctl.local.pods import Ground
from istioctl.local.run import Beside, Options, up
from istioctl.local.talk import Talk
from platforms.local.plan import Plan

EVERY = 1.0
"""Seconds between two looks at the sidecars."""

WINDOW = 4.0
"""Seconds that the figures are about: long enough for quantiles at the usual rate, short enough to see what one did."""


class DemoTalk(Talk):
    """Says what a mesh says while it starts, in the place where the demo shows things, and not how to use any mesh."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self._screen = screen

    def line(self, name: str, text: str) -> None:
        self._screen.tell(f"{name:<28} {text}")

    def text(self, lines: Iterable[str]) -> None:
        """The demo has words of its own for what to try."""


async def run(settings: Settings, screen: Screen, *, beside: Beside) -> None:
    """Runs the mesh of the demo until `beside` ends, or Ctrl-C. Raises `Misconfigured` when it cannot run here."""
    _python_first()
    talk = DemoTalk(screen)
    capture = chosen(settings.capture, talk)
    options = Options(
        mesh_file=MESH_FILE,
        state=settings.state,
        managers=settings.managers,
        keep=settings.keep,
        envoy=settings.envoy,
        capture=capture,
    )
    await up(options, talk, beside=beside)
    if not settings.keep:
        talk.line("demo", removed(settings.state))


def removed(state: Path) -> str:
    """What is gone; what is not, if something is not."""
    left = f"; {state} is still there, because something else is in it" if state.exists() else f", and {state}"
    return f"removed: the Manager, every application with its Envoy, their sockets and addresses{left}"


def _python_first() -> None:
    """The mesh file says `python3`: here that is the Python that runs this program, whatever PATH knows of."""
    os.environ["PATH"] = os.pathsep.join((os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)))


class Show:
    """Load, and the table of what it comes to."""

    def __init__(self, settings: Settings, screen: Screen) -> None:
        self._settings = settings
        self._screen = screen
        self._window = Window(WINDOW)
        # Before PATH is changed for the applications: these are for somebody else's shell.
        self._hints = words.hints(settings.state)

    async def run(self, settled: asyncio.Future[Plan], ground: Ground) -> None:
        """Ends after the duration that was asked for, if one was."""
        found = stage(self._settings, await settled)
        await served(found, tell=self._screen.tell)
        try:
            async with asyncio.timeout(self._settings.duration or None), asyncio.TaskGroup() as group:
                loads = [Load(found.entrance, rate=self._settings.rate)] if self._settings.rate else []
                loading = [group.create_task(each.run(), name="load") for each in loads]
                await self._watch(found)
                for task in loading:
                    task.cancel()
        except TimeoutError:
            pass
        finally:
            # What is told from now on belongs below the last table.
            self._screen.close()

    async def _watch(self, found: Stage) -> None:
        """Ends when nobody reads any more what is printed."""
        clock = asyncio.get_running_loop().time
        begin = clock()
        while True:
            looked = clock()
            self._window.observe(await scrape(found.state, found.workloads), at=looked)
            try:
                self._screen.show(self._scene(found, looked - begin))
            except BrokenPipeError:
                # Python would try, and complain, once more when it exits.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return
            await asyncio.sleep(max(0.1, EVERY - (clock() - looked)))

    def _scene(self, found: Stage, elapsed: float) -> Scene:
        seconds = self._window.seconds()
        return Scene(
            rows=rows(self._window.counted(), seconds=seconds, known=found.versions),
            url=found.entrance.url,
            curl=found.curl,
            hints=self._hints,
            elapsed=elapsed,
        )
