"""This program as somebody called it, for commands that people are told to type: not everybody has it on the PATH."""

import os
import shlex
import shutil
import sys
from pathlib import Path

from istioctl.options import default_state_dir


def called() -> str:
    """`istioctl`, or the path that was used here, where that name means nothing or something else."""
    used, on_path = sys.argv[0], shutil.which("istioctl")
    is_other = os.path.basename(used) == "istioctl" and (on_path is None or not os.path.samefile(on_path, used))
    return used if is_other else "istioctl"


def istioctl_for(state: Path) -> str:
    """The command as it works in a fresh shell, with the state directory if need be."""
    is_default = state == default_state_dir() and "ISTIO_STATE_DIR" not in os.environ
    return shlex.join((called(), *(() if is_default else ("--state-dir", str(state)))))
