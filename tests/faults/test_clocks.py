"""The clock of the Manager is nearly two minutes off, either way: certificates are accepted, and renewed in time."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from istioctl.local.testing import eventually
from istioctl.testing.world import World

pytestmark = [pytest.mark.envoy, pytest.mark.slow, pytest.mark.timeout(120)]

OFF = 115.0
LATE_LIFETIME, EARLY_LIFETIME = OFF + 15, 15.0
"""Either way 15 s are left of a certificate that was just made: what a late Manager makes is as old as that."""

PATCH = """\
import sys
import time

if "core.manager" in sys.orig_argv:
    right = time.time
    time.time = lambda: right() + {off}
"""


@contextlib.contextmanager
def skewed(off: float, lifetime: float) -> Iterator[World]:
    """A mesh whose Manager looks at a wrong clock; nobody else does."""
    with TemporaryDirectory(prefix="c") as folder:
        (Path(folder) / "sitecustomize.py").write_text(PATCH.format(off=off))
        with World(Path(folder)).running("--certificate-lifetime", str(lifetime), PYTHONPATH=folder) as world:
            yield world.well()


def test_certificates_of_a_manager_whose_clock_is_wrong_are_good() -> None:
    """Two meshes under load, nearly two minutes ahead and behind: two generations of certificates, no failed call."""
    with skewed(OFF, EARLY_LIFETIME) as early, skewed(-OFF, LATE_LIFETIME) as late:
        worlds = early, late
        with early.watched() as ahead, late.watched() as behind:
            for _ in range(2):
                for world in worlds:
                    before = set(world.certificates())
                    eventually(lambda: not before & set(world.certificates()), within=30)  # noqa: B023
        assert ahead.failures == [], str(ahead)
        assert behind.failures == [], str(behind)
