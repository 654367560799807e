"""An agent that was told of another capture than the registry knows is shown with that: calls to it time out."""

from pathlib import Path
from typing import cast

import pytest

from core.manager.proxies import Proxies
from core.manager.testing.facts import Plane, workload_key
from core.manager.xds.delta import Delta
from core.manager.xds.server import Server
from core.manager.xds.stream import Stream
from core.model.workload import Capture, Explicit, Node, Redirected, Workload, node_id

KEY = workload_key("web-v1")


class Serving:
    """All streams of it are there."""

    def __init__(self) -> None:
        self.found: list[Stream] = []

    def streams(self) -> list[Stream]:
        return self.found


@pytest.mark.parametrize(
    ("capture", "told", "words"),
    [
        (Redirected(), "REDIRECT", ""),
        (Redirected(), "TPROXY", "by TPROXY, and what it is sent is for REDIRECT"),
        (Redirected(transparent=True), "REDIRECT", "by REDIRECT, and what it is sent is for TPROXY"),
        (Redirected(transparent=True), "TPROXY", ""),
        (Explicit(), "TPROXY", "by TPROXY, and what it is sent is for NONE"),
        (Redirected(), None, ""),
    ],
)
def test_who_is_misled_is_shown(capture: Capture, told: str | None, words: str) -> None:
    workload, serving = Workload(key=KEY, address="10.0.0.7", capture=capture), Serving()
    proxies = Proxies(cast(Server, serving), Plane(workload).pusher, state=Path(), on_blame=print)
    metadata: dict[str, object] = {} if told is None else {"INTERCEPTION_MODE": told}
    node = Node(id=node_id(workload, "cluster.local"), metadata=metadata, user_agent="envoy 1.40.0")
    serving.found.append(proxies.open(KEY, node, Delta()))
    (status,) = proxies.status()
    assert status.misled.endswith(words)
    assert bool(status.misled) is bool(words)
