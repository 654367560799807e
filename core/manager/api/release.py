"""Which release of this distribution is installed; asked by the Manager and by the command line."""

from importlib.metadata import PackageNotFoundError, version

DISTRIBUTION = "pistio"


def installed() -> str:
    """The version, or "0.0+source" when the tree is run without being installed."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "0.0+source"
