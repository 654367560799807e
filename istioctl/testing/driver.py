"""Load as the application of a workload: `python -m istioctl.testing.driver`, alike in both captures. For tests.

What it calls it knows from what a mesh tells its applications (`$WEB_SERVICE_HOST`, `$WEB_SERVICE_PORT_HTTP`, …).
`$CALLS`: services, by commas; `$RATE`: calls a second, in all; `$REPORT`: the file in which it says what came of them.
"""

import asyncio
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from core.model.service import WorkloadKey
from core.simulate import Call
from istioctl.testing.load import Failure, Lane, Tally, driving

RETRIED = "retried"
"""Calls of HTTP and gRPC with this mark carry it as the header `x-calls` as well."""

_EVERY = 0.05
"""Seconds between two looks at whether there is something new to report."""

_SOMEBODY = WorkloadKey("default", "driver")
_METHOD = "/test.Echo/Say"

Protocol = Literal["http", "tcp", "grpc"]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`began` is of the clock that all processes of a machine share (`time.monotonic`)."""

    began: float
    done: dict[str, int]
    answered: dict[str, int]
    failures: list[Failure]


def lanes(services: list[str], *, rate: float, environment: Mapping[str, str]) -> list[tuple[Lane, tuple[str, int]]]:
    """Every way to call every port of these services, each as often."""
    found = [(call, mark, place) for name in services for call, mark, place in _calls(name, environment)]
    each = rate / len(found) / 2
    return [
        (Lane(call=call, rate=each, fresh=fresh, mark=mark), place)
        for call, mark, place in found
        for fresh in (False, True)
    ]


def _calls(name: str, environment: Mapping[str, str]) -> Iterator[tuple[Call, str, tuple[str, int]]]:
    prefix = f"{name.upper()}_SERVICE"
    host = environment[f"{prefix}_HOST"]
    protocols: tuple[Protocol, ...] = ("http", "tcp", "grpc")
    for protocol in protocols:
        port = int(environment.get(f"{prefix}_PORT_{protocol.upper()}", "0"))
        for mark in ("", RETRIED) if port else ():
            if protocol != "tcp" or not mark:
                yield _call(name, protocol, port, mark), mark, (host, port)


def _call(name: str, protocol: Protocol, port: int, mark: str) -> Call:
    headers = (("x-calls", mark),) if mark else ()
    path = _METHOD if protocol == "grpc" else "/"
    return Call(source=_SOMEBODY, host=name, port=port, via="captured", protocol=protocol, path=path, headers=headers)


async def _report(tally: Tally, path: Path) -> None:
    """As a whole, so that a reader never sees half of it."""
    said = -1
    while True:
        if said != tally.total:
            said = tally.total
            report = Report(
                began=tally.started, done=dict(tally.done), answered=dict(tally.answered), failures=tally.failures
            )
            new = path.with_suffix(".new")
            new.write_bytes(msgspec.json.encode(report))
            new.replace(path)
        await asyncio.sleep(_EVERY)


async def main(environment: Mapping[str, str]) -> None:
    """Until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    driven = lanes(environment["CALLS"].split(","), rate=float(environment["RATE"]), environment=environment)
    async with driving(driven) as tally:
        reporting = asyncio.create_task(_report(tally, Path(environment["REPORT"])))
        await stop.wait()
        reporting.cancel()


if __name__ == "__main__":
    asyncio.run(main(os.environ))
