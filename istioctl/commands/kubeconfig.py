"""`istioctl kubeconfig`: where kubectl finds the running mesh."""

import click

from istioctl.options import Where, state_dir_option
from istioctl.output import say, show


@click.command()
@state_dir_option
@click.pass_obj
def command(where: Where) -> None:
    """Print the path of the running mesh's kubeconfig.

    With it kubectl, and every other client of Kubernetes, reads and writes the rules of this mesh. The file lets in
    whoever has it: it is readable for you alone.

    \b
    Examples:
      istioctl kubeconfig
      istioctl --state-dir /tmp/other kubeconfig
    """
    import sys
    from shlex import quote

    from core.errors import NotFound
    from core.manager.paths import kubeconfig
    from istioctl.client import Api

    with Api(where.state_dir) as api:
        api.release()
    path = kubeconfig(where.state_dir).absolute()
    if not path.exists():
        raise NotFound(f"the Manager serves no HTTPS: there is no {path}", fix="start it with api_listen set")
    show(str(path))
    if sys.stdout.isatty():
        say(f"for this shell: export KUBECONFIG={quote(str(path))}")
