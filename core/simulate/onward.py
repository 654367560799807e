"""A call from end to end: through the caller's proxy, and then through those of the workloads that it was sent to."""

from collections.abc import Iterator
from typing import Protocol

from msgspec.structs import replace

from core.model.service import WorkloadKey
from core.simulate.answers import answered
from core.simulate.call import Answered, Arrived, Call, Outcome, Refused, Result, Step
from core.simulate.effects import response_on
from core.simulate.walk import View, simulate
from core.view.security import Automatic, MeshClient
from core.view.upstream import Endpoint


class Views(Protocol):
    """What every proxy of the mesh sees; `core.compiler.views.ProxyViews` is one."""

    def of(self, key: WorkloadKey) -> View: ...
    def behind(self, endpoint: Endpoint) -> WorkloadKey | None: ...


def end_to_end(views: Views, call: Call, *, entrance: tuple[str, int]) -> Outcome:
    """As `simulate`, and whoever's proxy would refuse the call is no longer among those that it reaches.

    `call.identity` is the caller's; its proxy shows it where mutual TLS is spoken.
    """
    outcome = simulate(views.of(call.source), call, entrance=entrance)
    if call.via == "inbound":
        return outcome
    way = _Onward(views, call)
    results = tuple(each for result in outcome.results for each in way.results(result))
    return replace(outcome, results=results, steps=(*outcome.steps, *dict.fromkeys(way.steps)))


class _Onward:
    def __init__(self, views: Views, call: Call) -> None:
        self.views = views
        self.upstreams = views.of(call.source).upstreams()
        self.call = call
        self.steps: list[Step] = []

    def results(self, result: Result) -> Iterator[Result]:
        """Shares stay what they were; endpoints that refuse take theirs with them."""
        if not isinstance(result, Arrived) or not result.endpoints:
            yield result
            return
        kept: list[Endpoint] = []
        total = sum(each.weight for each in result.endpoints)
        for endpoint in result.endpoints:
            if (refused := self._refused(result, endpoint, result.share * endpoint.weight / total)) is None:
                kept.append(endpoint)
            else:
                yield refused
        if kept:
            share = result.share * sum(each.weight for each in kept) / total
            yield replace(result, endpoints=tuple(kept), share=share)

    def _refused(self, arrived: Arrived, endpoint: Endpoint, share: float) -> Result | None:
        """What becomes of the part of the calls that goes to `endpoint`, if its proxy does not let it in."""
        key = self.views.behind(endpoint)
        if key is None:
            return None
        there = self._there(arrived, endpoint, key)
        found = simulate(self.views.of(key), there, entrance=(endpoint.address, endpoint.port))
        (result,) = found.results
        self.steps += [step for step in found.steps if step.what == "policy"]
        match result:
            case Answered():
                return replace(result, share=share, headers=response_on(arrived))
            case Refused() if self.call.protocol != "tcp":
                return answered(503, share=share, flag="UC", grpc=self.call.protocol == "grpc")
            case Refused():
                return replace(result, share=share)
        return None

    def _there(self, arrived: Arrived, endpoint: Endpoint, key: WorkloadKey) -> Call:
        """The call as the other side's proxy gets it."""
        mutual = self._is_mutual(arrived, endpoint)
        own = self.call.address
        first = (("x-forwarded-for", own),) if self.call.via == "gateway" else ()
        return replace(
            self.call,
            source=key,
            via="inbound",
            sni=None,
            shown="mesh" if mutual else None,
            identity=self.call.identity if mutual else "",
            port=endpoint.port,
            path=arrived.path or "/",
            authority=arrived.authority,
            headers=(*arrived.headers, *first),
        )

    def _is_mutual(self, arrived: Arrived, endpoint: Endpoint) -> bool:
        security = self.upstreams[arrived.upstream].security
        return isinstance(security, MeshClient) or (isinstance(security, Automatic) and endpoint.mutual)
