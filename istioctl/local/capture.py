"""Which capture a mesh on this machine uses, when that is left to the machine."""

from core.errors import Misconfigured
from istioctl.local.talk import Talk
from platforms.local.settings import CaptureMode
from proxy.capture import support


def chosen(asked: str, talk: Talk) -> CaptureMode:
    """Raises `Misconfigured` when `redirect` was asked for and cannot be; "auto" falls back and says why."""
    if asked == "none":
        return "none"
    try:
        support.require()
    except Misconfigured as error:
        if asked == "redirect":
            raise
        talk.line("capture", f"none, because {error}. For redirect: {error.fix}")
        return "none"
    return "redirect"
