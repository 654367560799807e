"""`istio-agent capture print|apply|clean`: the rules of capture `redirect`, by hand, for a container or a machine.

For who sets up networks differently than `istioctl up` does. Options are named as those of `istio-iptables`.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

from core.errors import MeshError
from proxy.capture import apply
from proxy.capture.policy import ALL, ByMark, ByUser, Policy

T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 when the kernel, or the policy, did not agree."""
    options = _parser().parse_args(arguments)
    try:
        _do(options)
    except MeshError as error:
        print(f"error: {error}", *([f"fix: {error.fix}"] if error.fix else []), sep="\n", file=sys.stderr)
        return 1
    return 0


def _do(options: argparse.Namespace) -> None:
    backend: apply.Backend = options.backend or apply.available()
    if options.action == "clean":
        apply.clean(backend)
    elif options.action == "apply":
        apply.apply(_policy(options), backend)
    else:
        print(apply.text(_policy(options), backend), end="")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="istio-agent capture", description="The rules of capture `redirect`.")
    parser.add_argument("action", choices=("print", "apply", "clean"))
    parser.add_argument("--backend", choices=("nft", "iptables"), help="the first that is installed, if not given")
    parser.add_argument("--istio-inbound-interception-mode", dest="mode", default="REDIRECT", type=str.upper,
                        choices=("REDIRECT", "TPROXY"))  # fmt: skip
    parser.add_argument("--proxy-uid", type=int, default=1337, help="the user that the proxy runs as")
    parser.add_argument("--proxy-mark", type=int, help="how the proxy marks its connections, instead of its user")
    parser.add_argument("--dns-port", type=int, default=15053, help="where DNS is led; 0: nowhere")
    for name, kind in _LISTS.items():
        default = ALL if name.startswith(("istio-inbound-ports", "istio-service-cidr")) else ""
        parser.add_argument(f"--{name}", metavar=kind, default=default, help="separated by commas")
    parser.add_argument("--leave-ipv6", action="store_true", help="do not refuse IPv6 that would go round the proxy")
    return parser


_LISTS = {
    "istio-inbound-ports": "PORTS",
    "istio-local-exclude-ports": "PORTS",
    "istio-outbound-ports": "PORTS",
    "istio-local-outbound-ports-exclude": "PORTS",
    "istio-service-cidr": "RANGES",
    "istio-service-exclude-cidr": "RANGES",
    "istio-exclude-interfaces": "NAMES",
}


def _policy(options: argparse.Namespace) -> Policy:
    return Policy(
        mode="tproxy" if options.mode == "TPROXY" else "redirect",
        proxy=ByUser(options.proxy_uid) if options.proxy_mark is None else ByMark(options.proxy_mark),
        dns_port=options.dns_port,
        include_inbound_ports=_some(options.istio_inbound_ports, int),
        exclude_inbound_ports=_all(options.istio_local_exclude_ports, int) or (22,),
        include_outbound_ports=_all(options.istio_outbound_ports, int),
        exclude_outbound_ports=_all(options.istio_local_outbound_ports_exclude, int),
        include_outbound_ranges=_some(options.istio_service_cidr, str),
        exclude_outbound_ranges=_all(options.istio_service_exclude_cidr, str),
        exclude_interfaces=_all(options.istio_exclude_interfaces, str),
        ipv6="leave" if options.leave_ipv6 else "refuse",
    )


def _some(text: str, read: Callable[[str], T]) -> tuple[T, ...] | Literal["*"]:
    return ALL if text == ALL else _all(text, read)


def _all(text: str, read: Callable[[str], T]) -> tuple[T, ...]:
    return tuple(read(part.strip()) for part in text.split(",") if part.strip())


if __name__ == "__main__":
    sys.exit(main())
