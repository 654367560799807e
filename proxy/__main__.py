"""`istio-agent`, also `python -m proxy`: `run` and its like for people; `-` for programs (`proxy.machine`)."""

import sys


def main() -> int:
    """Programs pay for no command line: an agent stays small for as long as its workload lives."""
    if sys.argv[1:2] == ["-"]:
        from proxy import machine

        return machine.main()
    from proxy import early

    return early.run("proxy.command_line")


if __name__ == "__main__":
    sys.exit(main())
