"""What is proven, in order: rules that one step writes are in force for the next."""

from collections.abc import Callable
from typing import NamedTuple

from istioctl.demo.proof import routing, security
from istioctl.demo.proof.chance import bounds
from istioctl.demo.proof.routing import DELAY, ENOUGH, FAULTS, FEW, SPLIT
from istioctl.demo.proof.site import Site


class Step(NamedTuple):
    """`prove` returns what was seen, and raises `Failed` with it when that is not what was expected."""

    title: str
    expected: str
    prove: Callable[[Site], str]


STEPS: tuple[Step, ...] = (
    Step("the page comes, from outside the mesh", "HTTP 200, with details and reviews", routing.page),
    Step(
        "calls are spread over the versions",
        f"{ENOUGH} pages from v1, v2 and v3 of reviews",
        routing.all_versions,
    ),
    Step(
        "everybody is known by a verified identity",
        "the SPIFFE ids of the gateway and of the page",
        security.identities,
    ),
    Step(
        "plain text is refused (PeerAuthentication STRICT)",
        "no workload answers a caller without TLS",
        security.plaintext,
    ),
    Step(
        "a header decides the route (rules/jason.yaml)",
        f"{FEW} pages of jason all from v2, {FEW} of others all from v1",
        routing.by_header,
    ),
    Step(
        "shares are kept (istioctl shift reviews v1=90 v3=10)",
        f"of {SPLIT} pages {bounds(0.1, SPLIT)} from v3 (10%, 4 standard deviations), the others from v1",
        routing.split,
    ),
    Step(
        "faults are injected (rules/broken-details.yaml)",
        f"of {FAULTS} calls to details {bounds(0.5, FAULTS)} fail with 503 (50%, 4 standard deviations)",
        routing.abort,
    ),
    Step("delays are injected", f"a page takes at least {DELAY:g} s when details do", routing.delay),
    Step("rules that are deleted are gone", "every page is whole, quick, and from all versions", routing.removal),
    Step("every proxy has the newest (istioctl proxy-status)", "all are in sync", routing.in_sync),
    Step(
        "the sidecars counted mutual TLS only (istio_requests_total)",
        "connection_security_policy mutual_tls",
        security.encrypted,
    ),
)
