"""What the Manager knows about its proxies, as plain values for whoever shows it. Not how it came to know."""

import msgspec

from core.model.config import ConfigKey, Origin
from core.model.service import WorkloadKey


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """How far one resource type has come at one proxy.

    `type` is the short name ("CDS"); `sent` and `acked` are versions, "" before the first;
    `generation` is the generation of the configuration that the acknowledged version was compiled from.
    `waiting`: something is still to be sent or to be answered. `brought`: the proxy had been sent something by another
    Manager, or by this one in an earlier life, and has it still.
    """

    type: str
    sent: str = ""
    acked: str = ""
    generation: int = 0
    waiting: bool = False
    brought: bool = False


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A resource that the proxy would not take. `reason` is Envoy's text; `origin` the document behind it."""

    type: str
    resource: str
    reason: str
    origin: Origin | None = None


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A document that is out of force until it changes, because the proxy of `workload` refused what it became.

    Its last good version is in force instead, so that the proxy itself is in sync again.
    """

    document: ConfigKey
    workload: WorkloadKey
    refusal: Refusal


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """A document that the Manager has taken up: `revision` is the stored one, `generation` where it came into force.

    Each Manager (`manager` is its number) counts generations of its own.
    """

    document: ConfigKey
    revision: str
    generation: int
    manager: int = 1


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far documents have come in the Manager itself.

    `generation` is the newest. `trying`: a proxy refused something, and it is being found out whose fault that is.
    `resting`: all that was told is compiled, and the proxies have answered it. `unwell`: so many instances get no
    calls, because their applications have not been seen to accept any.
    """

    generation: int = 0
    trying: bool = False
    resting: bool = True
    unwell: int = 0
    documents: tuple[Applied, ...] = ()


class ProxyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One connected proxy. `connected_since` is seconds since the epoch; `user_agent` is like "envoy 1.40.0".

    Whatever was in force up to `generation`, it has answered, or is not concerned by. Generations are those of the
    Manager number `manager`, which it is connected to. `misled`: what its agent and the registry disagree on, so that
    calls to it do not get through; "" if nothing.
    """

    workload: WorkloadKey
    node: str
    connected_since: float
    user_agent: str = ""
    generation: int = 0
    manager: int = 1
    deliveries: tuple[Delivery, ...] = ()
    refused: tuple[Refusal, ...] = ()
    misled: str = ""

    @property
    def synced(self) -> bool:
        """Nothing is to be sent, to be answered, or refused.

        `sent` may still be newer than `acked`: when the reason of a refusal was taken back, there is nothing to send.
        """
        return not self.refused and not any(d.waiting for d in self.deliveries)


class MeshStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the Manager answers at `/status`. `managers`: the numbers of those that it comes from.

    `silent`: of those that hang, so that nothing is known of the proxies there. `absent`: workloads that ought to have
    a proxy, of which none is connected.
    """

    proxies: tuple[ProxyStatus, ...]
    held: tuple[Held, ...] = ()
    progress: Progress = Progress()
    managers: tuple[int, ...] = (1,)
    silent: tuple[int, ...] = ()
    absent: tuple[WorkloadKey, ...] = ()
