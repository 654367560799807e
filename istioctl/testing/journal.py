"""What reached the test applications, in order: for what no answer tells, like copies and repeated tries."""

import msgspec


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """One request, or some bytes of a connection. Header names are lower case, repeated ones joined by ","."""

    app: str
    path: str = ""
    authority: str = ""
    headers: dict[str, str] = {}

    @property
    def is_copy(self) -> bool:
        """A mirrored request: Envoy marks its authority."""
        return self.authority.partition(":")[0].endswith("-shadow")


class Journal:
    """Shared by the applications of one mesh."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []

    def clear(self) -> None:
        self.arrivals.clear()

    def note(self, arrival: Arrival) -> int:
        """Keeps it and says how often the same request was seen before; a proxy gives each request an id."""
        request = arrival.headers.get("x-request-id")
        earlier = 0
        if request is not None and not arrival.is_copy:
            earlier = sum(a.headers.get("x-request-id") == request and not a.is_copy for a in self.arrivals)
        self.arrivals.append(arrival)
        return earlier
