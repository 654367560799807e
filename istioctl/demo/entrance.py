"""The way into the mesh for a caller who is outside of it: where pages are asked for, by people and by the demo."""

import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

import msgspec


class Entrance(msgspec.Struct, frozen=True, kw_only=True):
    """`url` as one types it. `proxy`: the HTTP proxy it has to go through (`host:port`), "" for none."""

    url: str
    proxy: str = ""

    @property
    def curl(self) -> tuple[str, ...]:
        """The arguments of curl that ask for the page."""
        return (*(("-x", f"http://{self.proxy}") if self.proxy else ()), self.url)

    @property
    def server(self) -> tuple[str, int]:
        """Who is connected to."""
        parts = urlsplit(f"http://{self.proxy}" if self.proxy else self.url)
        return parts.hostname or "", parts.port or 80

    @property
    def target(self) -> str:
        """What stands in the request line."""
        return self.url if self.proxy else urlsplit(self.url).path or "/"

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc


class Answer(msgspec.Struct, frozen=True):
    """What a call came to; status 0: no answer, and `body` says why. `seconds` is how long it took."""

    status: int
    body: bytes
    seconds: float

    def json(self) -> dict[str, object]:
        """Empty when the body is something else."""
        try:
            return msgspec.json.decode(self.body, type=dict[str, object])
        except msgspec.DecodeError:
            return {}


TIMEOUT = 10.0
NONE: Mapping[str, str] = {}


def call(entrance: Entrance, *, timeout: float = TIMEOUT, headers: Mapping[str, str] = NONE) -> Answer:
    """A GET on a connection of its own. Blocks."""
    begin = time.monotonic()
    connection = HTTPConnection(*entrance.server, timeout=timeout)
    try:
        connection.request("GET", entrance.target, headers={"Host": entrance.host, "Connection": "close", **headers})
        response = connection.getresponse()
        return Answer(response.status, response.read(), time.monotonic() - begin)
    except (OSError, HTTPException) as error:
        return Answer(0, (str(error) or type(error).__name__).encode(), time.monotonic() - begin)
    finally:
        connection.close()
