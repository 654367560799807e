"""What one call came to, in the same words whether a proxy did it or the simulator says so.

The simulator follows a call to the other side's proxy; what the application would answer is added here.
"""

from collections.abc import Iterator

import grpc
import msgspec

from core.model.peer import Peer
from core.model.service import WorkloadKey
from core.simulate import Answered, Arrived, Call, Outcome, Refused
from core.simulate.answers import answered
from core.simulate.changes import changed, joined
from core.simulate.request import Request
from core.view.upstream import Endpoint
from istioctl.testing.behaviour import behaviour
from istioctl.testing.reply import Reply

CLOSED = "closed"
OUTSIDE = "outside"
"""The server that is no part of the mesh."""

_NOT_METADATA = frozenset({"content-type"})
"""What gRPC sends but does not show to applications."""

_GRPC = {code.value[0]: code.name for code in grpc.StatusCode}
_FLAGS = {
    (503, b"no healthy upstream"): "UH",
    (503, b""): "NC",
    (404, b""): "NR",
    (504, b"upstream request timeout"): "UT",
}
_OVERFLOW, _FAULT = b"reset reason: overflow", b"fault filter abort"


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """`share` of the calls came to this. `seen` is False where the application could not say what it got.

    `flag` is Envoy's response flag as far as it can be told ("" where not). `elapsed` in seconds; simulated: at least.
    """

    share: float
    who: str
    status: int = 0
    grpc: str = ""
    flag: str = ""
    seen: bool = False
    path: str = ""
    authority: str = ""
    request: dict[str, str] = {}
    response: dict[str, str] = {}
    body: bytes = b""
    elapsed: float = 0.0
    peer: str = ""


def app_name(key: WorkloadKey) -> str:
    """What a workload is called in tables: `reviews-v1`, outside `default` `reviews-v1.shop`."""
    return key.name if key.namespace == "default" else str(key)


# -- real --------------------------------------------------------------------------------------------------------------


def real(replies: list[Reply]) -> tuple[Observed, ...]:
    """One for each reply."""
    return tuple(_replied(reply, 1 / len(replies)) for reply in replies)


def _replied(reply: Reply, share: float) -> Observed:
    seen, grpc_status = reply.seen, _GRPC[reply.grpc] if reply.grpc is not None else ""
    return Observed(
        share=share,
        who=reply.app or (grpc_status or str(reply.status) if reply.status else CLOSED),
        status=reply.status,
        grpc=grpc_status,
        flag="" if reply.app or reply.grpc is not None else _flag(reply),
        seen=bool(seen),
        path=seen.get("path", ""),
        authority=seen.get("authority", ""),
        request=seen.get("headers", {}),
        peer=_peer(seen.get("headers", {}).get("x-forwarded-client-cert", "")),
        response=reply.headers,
        body=reply.body,
        elapsed=reply.elapsed,
    )


def _peer(certificates: str) -> str:
    """Who showed the last certificate (Envoy `x-forwarded-client-cert`)."""
    fields = (field.partition("=") for field in certificates.rpartition(",")[2].split(";"))
    return next((value for name, _, value in fields if name == "URI"), "")


def _flag(reply: Reply) -> str:
    """Clients are not told the flag; the texts that Envoy answers with give most of them away."""
    if _OVERFLOW in reply.body:
        return "UO"
    if reply.body == _FAULT:
        return "FI"
    return _FLAGS.get((reply.status, reply.body), "")


# -- simulated ---------------------------------------------------------------------------------------------------------


def simulated(outcome: Outcome, call: Call) -> tuple[Observed, ...]:
    """One for each way in which the call can end."""
    delay = outcome.delay.duration / 1000 if outcome.delay and outcome.delay.per_million == 1_000_000 else 0.0
    found = (each for result in outcome.results for each in _result(result, call))
    return tuple(msgspec.structs.replace(each, elapsed=each.elapsed + delay) for each in found)


def _result(result: Arrived | Answered | Refused, call: Call) -> Iterator[Observed]:
    match result:
        case Refused(share=share) if call.protocol == "grpc":
            yield Observed(share=share, who="UNAVAILABLE", status=200, grpc="UNAVAILABLE")
        case Refused(share=share):
            yield Observed(share=share, who=CLOSED)
        case Answered():
            yield _answered(result)
        case Arrived(share=share) if call.via == "inbound":
            yield _arrived(result, app_name(call.source), share, call)
        case Arrived(share=share, endpoints=()):
            yield _arrived(result, OUTSIDE, share, call)
        case Arrived():
            for endpoint, share in result.chances():
                yield _arrived(result, app_of(endpoint), share, call)


def _answered(answer: Answered) -> Observed:
    grpc_status = _GRPC[answer.grpc] if answer.grpc is not None else ""
    location = {"location": answer.location} if answer.location else {}
    return Observed(
        share=answer.share,
        who=grpc_status or str(answer.status),
        status=answer.status,
        grpc=grpc_status,
        flag=answer.flag,
        response={**joined(answer.headers), **location},
        body=answer.body,
    )


def app_of(endpoint: Endpoint) -> str:
    if not endpoint.workload:
        return OUTSIDE
    peer = Peer.parse(endpoint.workload)
    return app_name(WorkloadKey(peer.namespace, peer.workload))


def _arrived(arrived: Arrived, app: str, share: float, call: Call) -> Observed:
    """What this application answers, as `istioctl.testing.behaviour` has it."""
    request = joined(arrived.headers)
    answer = behaviour(app, request, earlier=0)
    if arrived.timeout and answer.delay > arrived.timeout / 1000:
        late = _answered(answered(504, share=share, flag="UT", grpc=call.protocol == "grpc"))
        return msgspec.structs.replace(late, elapsed=arrived.timeout / 1000)
    is_grpc = call.protocol == "grpc"
    return Observed(
        share=share,
        who=app,
        status=200 if is_grpc else answer.status or 200,
        grpc=_GRPC[answer.status or 0] if is_grpc else "",
        seen=call.protocol != "tcp" and call.method != "HEAD" and not (is_grpc and answer.status),
        path=arrived.path,
        authority="" if is_grpc else arrived.authority,
        request={name: value for name, value in request.items() if not (is_grpc and name in _NOT_METADATA)},
        response=_response(app, answer.headers, arrived),
        elapsed=answer.delay,
    )


def _response(app: str, headers: tuple[tuple[str, str], ...], arrived: Arrived) -> dict[str, str]:
    """Rules may put parts of the request on the answer: of the request as it arrived."""
    request = Request(method="", target=arrived.path, authority=arrived.authority, headers=arrived.headers)
    return joined(changed((("x-app", app), *headers), arrived.response, request=request))
