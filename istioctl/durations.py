"""Lengths of time on the command line."""

import click

SECOND = 10**9


class Duration(click.ParamType[float]):
    """Seconds, written as 30s, 10m, 1h or 1h30m."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from core.kinds.scalars import nanoseconds

        length = nanoseconds(str(value))
        if length is None or length < SECOND:
            self.fail(f"{value!r} is no duration of a second or more; write 30s, 10m, 1h or 1h30m", param, ctx)
        return length / SECOND
