"""The Manager as a process: opens its platform, serves until told to stop, and leaves nothing behind."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator

from core.manager.api import SOCKET
from core.manager.api.enrolment import Enrolment
from core.manager.api.https import for_owner, opened
from core.manager.api.server import serve
from core.manager.ca.private import directory
from core.manager.container import ManagerContainer
from core.manager.settings import Settings
from core.plugins import open_platform
from core.ports import Platform


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[ManagerContainer]:
    """A Manager at work while the context is open; inside it is ready. Raises what ends it, grouped."""
    async with (
        open_platform(settings.platform, settings.options) as platform,
        serving(settings, platform) as container,
    ):
        yield container


@contextlib.asynccontextmanager
async def serving(settings: Settings, platform: Platform) -> AsyncIterator[ManagerContainer]:
    """The same on a platform that somebody else opened, and closes."""
    directory(settings.home)
    container = ManagerContainer(settings=settings, platform=platform)
    manager, server, doors = container.manager(), container.server(), container.doors()
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(manager.run(), name="manager")
        try:
            await _either(work, manager.ready)
            await doors.open(container.proxies().open)
            async with _api(settings, container):
                yield container
        finally:
            work.cancel()
            await doors.close()
            await container.identities().close()
            await server.close()


@contextlib.asynccontextmanager
async def _api(settings: Settings, container: ManagerContainer) -> AsyncIterator[None]:
    """On its socket, and by HTTPS where that is wanted. Watches end before the servers wait for them."""
    api = container.api()
    enrolment = Enrolment(settings.state)
    application = api.application(*container.minting().routes(), *container.sent().routes(), *enrolment.routes())
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(serve(for_owner(application, settings.state), settings.home / SOCKET))
        if settings.api_listen:
            https = opened(application, settings, own=container.own_certificate())
            await stack.enter_async_context(https)
        stack.callback(api.close)
        yield


async def _either(work: asyncio.Task[None], ready: asyncio.Event) -> None:
    """Waits until the Manager is ready, or has failed before that (the task group raises its error)."""
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


async def run(settings: Settings) -> None:
    """Serves until SIGINT or SIGTERM, which also end a Manager that still waits for its platform."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    work, stopping = asyncio.create_task(_serve(settings)), asyncio.create_task(stop.wait())
    await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        stopping.cancel()
        work.result()
    work.cancel()
    await asyncio.wait({work})


async def _serve(settings: Settings) -> None:
    async with running(settings):
        print("ready", flush=True)
        await asyncio.get_running_loop().create_future()
