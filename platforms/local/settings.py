"""What the local platform needs to know to start; built once by the program that opens it."""

from pathlib import Path
from typing import Literal

import msgspec

from core.model.workload import Interception

CaptureMode = Literal["none", "redirect"]
"""How traffic gets into proxies: applications are told where they are, or the kernel leads it there (in pods)."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All times are in seconds.

    `state` is created with mode 0700 when it does not exist. `slot` 0 to 7 keeps meshes on one machine apart; None
    takes the first free one. `interception` is that of workloads of which the mesh file does not tell it.
    `probe_interval` None switches probing off: every instance then counts as healthy.
    """

    mesh_file: Path
    state: Path
    capture: CaptureMode = "none"
    interception: Interception = "REDIRECT"
    slot: int | None = None
    slot_held: bool = False
    poll_interval: float = 0.1
    probe_interval: float | None = 1.0
    first_probe_interval: float = 0.1
