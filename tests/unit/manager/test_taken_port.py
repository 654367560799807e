"""A port that somebody else has is no document's fault."""

import pytest

from core.manager.refusals import Contribution, suspects
from core.manager.xds.resource import Resource
from core.model.config import ConfigKey

GATEWAY = ConfigKey("networking.istio.io", "Gateway", "default", "web")
LISTENER = Resource("127.0.0.1_8080", "1", b"", (Contribution(GATEWAY, b"1"),))


@pytest.mark.parametrize(
    ("reason", "blamed"),
    [
        ("Error adding/updating listener(s) x: cannot bind '127.0.0.1:8080': Address already in use", ()),
        ("Error adding/updating listener(s) x: cannot bind '10.0.0.9:80': Cannot assign requested address", ()),
        ("Error adding/updating listener(s) x: no such cipher", (GATEWAY,)),
        ("", (GATEWAY,)),
    ],
)
def test_who_is_blamed(reason: str, blamed: tuple[ConfigKey, ...]) -> None:
    """Nobody when the proxy could not have the address; else the document that is new in the listener."""
    assert suspects(LISTENER, None, reason=reason) == blamed
