"""What an agent is told: its own settings, and what several agents of one process share. Frozen, built once."""

import msgspec

from core.model.workload import AppPort
from proxy.binary import Binary
from proxy.bootstrap import Elsewhere, Transport
from proxy.envoy_process import Knobs
from proxy.events import Log, Output, discard, silent
from proxy.identity.authority import Source
from proxy.identity.rotation import LIFETIME
from proxy.lifeline import Lifeline
from proxy.supervise import Pace, Restart


class Scrape(msgspec.Struct, frozen=True, kw_only=True):
    """Where the application has metrics of its own (Prometheus' text), to be served with Envoy's."""

    address: str = "127.0.0.1"
    port: int
    path: str = "/metrics"


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is this agent's own. Times are seconds.

    `directory` is made (0700) and emptied by the agent; Envoy runs in it. `xds_sockets` are the unix sockets for
    this workload of the Managers here, or `xds` is the port of one elsewhere; `identity` is where certificates come
    from: without it there are none, and Envoy starts at once.
    `termination_drain`: how long open connections may end by themselves when the agent stops (Istio: 5), and at least
    `drain_minimum`, in which others hear that this workload is leaving; 0: they may not.
    `hold_application`: it starts once Envoy is ready. `application_ports`: what is probed for `/app-health`, beside the
    ports that capture knows of. `within`: the words that run a program where Envoy is to be, if not beside the agent;
    what is free there is not looked at. `ready_port` and `metrics_port`: None is 15021 and 15020, unless taken; 0 is
    none.
    """

    directory: str
    xds_sockets: tuple[str, ...] = ()
    xds: Elsewhere | None = None
    identity: Source | None = None
    certificate_lifetime: int = LIFETIME
    transport: Transport = Transport.DELTA
    within: tuple[str, ...] = ()
    envoy: Knobs = Knobs()
    termination_drain: float = 0.0
    drain_minimum: float = 1.0
    envoy_grace: float = 5.0
    application_grace: float = 5.0
    restart_application: Restart = Restart.ON_FAILURE
    hold_application: bool = False
    application_ports: tuple[AppPort, ...] = ()
    metrics: Scrape | None = None
    ready_port: int | None = None
    metrics_port: int | None = None
    keep_logs: bool = False


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What the agents of one process share. Without a `lifeline`, descendants of a killed agent's programs live on."""

    envoy: Binary
    lifeline: Lifeline | None = None
    log: Log = silent
    output: Output = discard
    pace: Pace = Pace()
