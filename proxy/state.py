"""How an agent stands, as one value: what its surroundings are told, in events, over HTTP and in tests."""

from enum import StrEnum
from typing import Literal

import msgspec

from proxy.identity.certificate import Facts


class Phase(StrEnum):
    """Where an agent stands. FAILING: Envoy ended before it was ready; it is tried again."""

    NEW = "new"
    STARTING = "starting"
    READY = "ready"
    FAILING = "failing"
    STOPPING = "stopping"
    STOPPED = "stopped"


ApplicationState = Literal["none", "waiting", "running", "ended"]
"""`none`: the agent runs none. `waiting`: for its turn, or to be started again."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """`pid` is Envoy's while it runs; `reason` and `fix` say why it ended last; `restarts` counts since the start.

    `certificate` is the one in use; None: none yet, or none at all. `certificate_problem`: why no new one comes.
    """

    phase: Phase = Phase.NEW
    pid: int | None = None
    restarts: int = 0
    reason: str = ""
    fix: str = ""
    application: ApplicationState = "none"
    certificate: Facts | None = None
    certificate_expired: bool = False
    certificate_problem: str = ""

    @property
    def unready(self) -> str:
        """Why calls should not come here; "" when they may."""
        if self.phase is not Phase.READY:
            return f"Envoy is {self.phase}" if not self.reason else f"Envoy is {self.phase}: {self.reason}"
        if self.certificate_expired:
            return f"the certificate has expired: {self.certificate_problem}"
        return f"the application is {self.application}" if self.application in ("waiting", "ended") else ""
