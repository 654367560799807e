"""What somebody asked of `istioctl demo`. Values only."""

from pathlib import Path
from typing import Literal

import msgspec

MESH_FILE = Path(__file__).parent / "bookinfo" / "mesh.yaml"
RULES = MESH_FILE.parent / "rules"

Capture = Literal["auto", "none", "redirect"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`rate`: pages per second, 0 for no load. `duration`: seconds, 0 for until Ctrl-C."""

    state: Path
    capture: Capture = "auto"
    managers: int = 1
    keep: bool = False
    duration: float = 0.0
    rate: float = 20.0
    envoy: str = ""
