"""`istio-agent`: the command line for people. Not loaded where another program runs the agent (`proxy.machine`)."""

import asyncio
import sys

import click
import msgspec

from core.errors import MeshError
from proxy import attended
from proxy.early import INTERRUPTED
from proxy.wishes import Wishes, assignment

_RUN_HELP = """Run APP behind an Envoy of its own, until it ends.

The order: certificate, Envoy, its first configuration, APP. At SIGTERM: calls in flight end, APP, Envoy. At Ctrl-C
the same without waiting for calls. The exit code is APP's. SIGHUP, SIGUSR1 and SIGUSR2 go to APP.

The Manager is one of this machine (--state-dir), or elsewhere (--manager, --xds, --token, --roots).
docs/reference/istio-agent.md has the details.

\b
Examples:
  istio-agent run --name web-1 --address 127.16.0.1 --port 80:8080 -- ./serve --listen 8080
  istio-agent run --name batch-1 --address 127.16.0.2 --no-hold -- ./report.py
  istio-agent run --name web-2 --address 10.0.0.7 --port 80:8080 \\
      --manager https://mesh.example:15013 --xds mesh.example:15012 \\
      --token /run/secrets/join --roots roots.pem -- ./serve --listen 8080
"""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def app() -> None:
    """The sidecar agent: one workload's Envoy, certificates and, if asked, application."""


@app.command(help=_RUN_HELP)
@click.option("--name", envvar="ISTIO_AGENT_NAME", show_envvar=True, required=True, help="The workload's name.")
@click.option("--namespace", envvar="ISTIO_AGENT_NAMESPACE", show_envvar=True, default="default", show_default=True)
@click.option("--service-account", default="default", show_default=True, help="Part of its identity.")
@click.option("--address", envvar="ISTIO_AGENT_ADDRESS", show_envvar=True, required=True, help="Where others call it.")
@click.option("--port", "ports", multiple=True, metavar="PORT[:APP_PORT]", help="Where APP answers. Repeatable.")
@click.option("--app-address", default="127.0.0.1", show_default=True, help="Where APP listens.")
@click.option("--capture", type=click.Choice(["none", "redirect"]), default="none", show_default=True,
              help="redirect: the kernel leads traffic to Envoy, by rules of `istio-agent capture apply`.")  # fmt: skip
@click.option(
    "--interception",
    type=click.Choice(["REDIRECT", "TPROXY"], case_sensitive=False),
    metavar="[REDIRECT|TPROXY]",
    default="REDIRECT",
    show_default=True,
    help="As in those rules; TPROXY: APP sees the addresses of its callers.",
)
@click.option(
    "--proxy-mark", type=int, default=0, metavar="MARK", help="By which those rules know Envoy. [default: by its user]"
)
@click.option("--http-proxy-port", default=15007, show_default=True, help="Where APP finds Envoy for its own calls.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Repeatable.")
@click.option("--state-dir", envvar="ISTIO_STATE_DIR", show_envvar=True, help="Of a Manager on this machine.")
@click.option("--manager", metavar="URL", help="Where a Manager elsewhere issues certificates.")
@click.option("--xds", metavar="HOST:PORT", help="Where it serves Envoys.")
@click.option("--token", metavar="FILE", help="Proves who this is, the first time (istioctl token create).")
@click.option("--roots", metavar="FILE", help="PEM: whom to believe to be the Manager.")
@click.option("--trust-domain", default="cluster.local", show_default=True)
@click.option("--directory", metavar="PATH", help="The agent's own. [default: below the state directory]")
@click.option("--hold/--no-hold", default=True, show_default=True, help="Start APP only once Envoy is ready.")
@click.option("--proxyless", is_flag=True, help="No Envoy: APP speaks gRPC and asks the Manager itself.")
@click.option("--drain", default=5.0, show_default=True, metavar="SECONDS", help="For calls in flight, at SIGTERM.")
@click.option("--ready-port", type=int, help="0: none. [default: 15021, unless taken]")
@click.option("--metrics-port", type=int, help="0: none. [default: 15020, unless taken]")
@click.option("--app-metrics", metavar="[ADDRESS]:PORT/PATH", help="APP's own metrics, served with Envoy's.")
@click.option("--envoy", default="", metavar="PATH", help="The Envoy to run. [env: ISTIO_ENVOY]")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- APP [ARGS]...]")
def run(**options: object) -> int:
    work = assignment(msgspec.convert({k: v for k, v in options.items() if v is not None}, Wishes))
    return asyncio.run(attended.run(work))


_CAPTURE_HELP = """Print, apply or take out the kernel's rules that lead traffic to an Envoy.

For the network of a container or machine of its own, as root there (an init container, `ip netns exec`). Options are
named as those of istio-iptables; istio-agent capture --help lists them. docs/reference/capture.md has the details.
"""


@app.command(help=_CAPTURE_HELP, add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def capture(arguments: tuple[str, ...]) -> int:
    from proxy.capture.__main__ import main as rules

    return rules(arguments)


def main() -> int:
    """The console script's exit code."""
    try:
        code = app.main(prog_name="istio-agent", standalone_mode=False)
    except MeshError as error:
        attended.complain(str(error), error.fix)
        return 1
    except click.ClickException as error:
        attended.complain(error.format_message(), "istio-agent run --help shows how it is used")
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
