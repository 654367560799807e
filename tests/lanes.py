"""All tests, by two pytest processes side by side: most tests wait more than they work.

    tests/lanes.py [pytest's options]

One process prints as it goes; what the other one printed follows when both have ended, and then one line for both. Not
for some tests: that is pytest's own business (`make pytest ARGS=…`). Not by pytest-xdist, which gives each test a
directory with a name too long for the unix sockets in it.
"""

import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as xml
from collections.abc import Sequence
from pathlib import Path

TESTS = Path(__file__).parent
FIRST = ("faults", "conformance")
"""What takes as long as all the rest."""

LEFT_OUT = ("benchmarks", "__pycache__")


def main(options: Sequence[str]) -> int:
    began = time.monotonic()
    rest = sorted(each.name for each in TESTS.iterdir() if each.is_dir() and each.name not in (*FIRST, *LEFT_OUT))
    with tempfile.TemporaryDirectory() as name:
        first, second = Path(name, "first.xml"), Path(name, "second.xml")
        with Path(name, "output").open("w+") as aside:
            beside = subprocess.Popen(_pytest(rest, options, first), stdout=aside, stderr=subprocess.STDOUT)
            shown = subprocess.Popen(_pytest(FIRST, options, second))
            statuses = [shown.wait(), beside.wait()]
            aside.seek(0)
            print(aside.read(), flush=True)
        counts = [sum(each) for each in zip(_counts(first), _counts(second), strict=True)]
    said = "{} passed, {} failed, {} errors, {} skipped".format(*counts)
    print(f" both together: {said} in {time.monotonic() - began:.0f} s ".center(80, "="), flush=True)
    return next(filter(None, statuses), 0)


def _pytest(folders: Sequence[str], options: Sequence[str], report: Path) -> tuple[str, ...]:
    paths = [str(TESTS / name) for name in folders]
    return (sys.executable, "-m", "pytest", *options, f"--junit-xml={report}", *paths)


def _counts(report: Path) -> tuple[int, int, int, int]:
    """Passed, failed, errors, skipped; nothing of a process that ended before it could say."""
    if not report.exists():
        return 0, 0, 0, 0
    suite = next(xml.parse(report).iter("testsuite"))
    every, failed, errors, skipped = (int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped"))
    return every - failed - errors - skipped, failed, errors, skipped


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
