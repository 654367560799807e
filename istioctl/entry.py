"""The console script `istioctl`: the command line, without a traceback when Ctrl-C comes before it is loaded."""

from proxy import early


def main() -> int:
    """The exit code, unless the command line ends the process itself."""
    return early.run("istioctl.cli")
