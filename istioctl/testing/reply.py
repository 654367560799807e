"""What came back from a call, over whatever protocol."""

import json
from typing import Any

import msgspec


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """`status` 0: the connection was refused, or closed without an answer. `grpc`: the status code of a gRPC call.

    Header names are lower case, repeated ones joined by ",". `elapsed` is in seconds.
    """

    status: int
    grpc: int | None = None
    headers: dict[str, str] = {}
    body: bytes = b""
    elapsed: float = 0.0

    @property
    def app(self) -> str:
        """The workload that answered, "" for the proxy itself."""
        return self.headers.get("x-app", "")

    @property
    def seen(self) -> dict[str, Any]:
        """What the echo saw: `path`, `authority`, `headers`; empty where it could not say."""
        return dict(json.loads(self.body)) if self.app and self.body.startswith(b"{") else {}


CLOSED = Reply(status=0)
