"""Which listener a connection of the application comes to: one that it names, or the one that stands for its goal."""

from collections.abc import Iterable

from core.simulate.call import Via
from core.view.listener import Captured, Listener, Socket

ANY_ADDRESS = "0.0.0.0"


def entered(listeners: Iterable[Listener], place: tuple[str, int], via: Via) -> Listener | None:
    """`place` is what the application connects to. None: nothing listens there.

    A captured connection goes to whoever stands for just this address, else for its port, else to whom the kernel
    led it (Envoy: `use_original_dst`).
    """
    known = tuple(listeners)
    if via == "inbound":
        inbound = [each for each in known if each.direction == "inbound"]
        return next((each for each in inbound if each.original or each.bind == Socket(*place)), None)
    if via != "captured":
        return next((each for each in known if each.bind == Socket(*place)), None)
    address, port = place
    for bind in (Captured(address, port), Captured(ANY_ADDRESS, port)):
        if found := next((each for each in known if each.bind == bind and each.direction == "outbound"), None):
            return found
    return next((each for each in known if each.original and each.direction == "outbound"), None)
