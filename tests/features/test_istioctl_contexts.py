"""istioctl over HTTPS by a kubeconfig, as a colleague with a token of a role uses it, against the true Manager."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from istioctl.cli import app
from istioctl.testing.kubectl import Mesh, running

pytestmark = pytest.mark.timeout(60)

Run = Callable[..., Result]

RULE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews], http: [{route: [{destination: {host: HOST}}]}]}
"""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with running(tmp_path_factory.mktemp("mesh")) as mesh:
        mesh.tokens.write_text(mesh.tokens.read_text() + "view vera viewer\nshop sue namespace shop\n")
        yield mesh


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """istioctl in a directory of its own, where no mesh runs."""
    for name in ("KUBECONFIG", "ISTIO_KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ISTIO_STATE_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("EDITOR", "sed -i s/http:/http:/;s/ratings/details/")
    monkeypatch.chdir(tmp_path)

    def istioctl(*args: str, stdin: str = "") -> Result:
        return CliRunner().invoke(app, args, input=stdin, prog_name="istioctl", catch_exceptions=False)

    return istioctl


@pytest.fixture
def colleague(mesh: Mesh, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """With a kubeconfig of several contexts, as kubectl finds it; the token of the namespace is in a file beside it."""
    given = json.loads(mesh.kubeconfig.read_text())
    cluster = given["clusters"][0]["name"]
    given["users"] += [
        {"name": "vera", "user": {"token": "view"}},
        {"name": "sue", "user": {"tokenFile": "sue.token"}},
        {"name": "stranger", "user": {"token": "wrong"}},
        {"name": "login", "user": {"exec": {"command": "aws"}}},
    ]
    given["contexts"] += [
        {"name": "viewer", "context": {"cluster": cluster, "user": "vera"}},
        {"name": "shop", "context": {"cluster": cluster, "user": "sue", "namespace": "shop"}},
        {"name": "stranger", "context": {"cluster": cluster, "user": "stranger"}},
        {"name": "login", "context": {"cluster": cluster, "user": "login"}},
        {"name": "broken", "context": {"cluster": "nowhere", "user": "vera"}},
    ]
    (tmp_path / "sue.token").write_text("shop\n")
    path = tmp_path / "team.yaml"
    path.write_text(yaml.safe_dump(given))
    monkeypatch.setenv("KUBECONFIG", str(path))
    return run


def rule(host: str = "ratings") -> str:
    return RULE.replace("HOST", host)


def succeeded(result: Result) -> str:
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_the_meshs_own_file_is_enough(mesh: Mesh, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--kubeconfig $(istioctl kubeconfig)` before or behind the command, or by the environment."""
    file = ("--kubeconfig", str(mesh.kubeconfig))
    assert "kubernetes" not in succeeded(run(*file, "get", "all", "-A"))
    assert "manager version" in succeeded(run("version", *file))
    monkeypatch.setenv("ISTIO_KUBECONFIG", str(mesh.kubeconfig))
    succeeded(run("get", "all", "-A"))


def test_somebody_of_a_namespace_does_everything_there(mesh: Mesh, colleague: Run) -> None:
    """Every command about objects; the context says which namespace, and the token is who did it."""
    at = ("--context", "shop")
    name = "virtualservice.networking.istio.io/reviews"
    assert succeeded(colleague("create", *at, "-f", "-", stdin=rule())) == f"{name} created\n"
    assert succeeded(colleague("replace", *at, "-f", "-", stdin=rule("details"))) == f"{name} configured\n"
    assert colleague("diff", *at, "-f", "-", stdin=rule()).exit_code == 1
    assert succeeded(colleague("apply", *at, "-f", "-", stdin=rule())) == f"{name} configured\n"
    assert succeeded(colleague("edit", *at, "vs", "reviews")) == f"{name} configured\n"
    assert "sue" in succeeded(colleague("history", *at, "vs", "reviews"))
    shown = succeeded(colleague("describe", *at, "vs", "reviews"))
    assert "Proxies: not shown; sue, who is namespace in namespace shop, may not GET /status" in shown
    assert "host: ratings" in succeeded(colleague("rollback", *at, "vs", "reviews"))
    shift = colleague("shift", *at, "details", "v1=90", "v2=10")
    assert "weight: 90" in succeeded(shift)
    assert "--context shop delete virtualservice details" in shift.stderr
    assert all(succeeded(colleague("delete", *at, kind, "details")) for kind in ("vs", "dr"))
    assert "reviews" in succeeded(colleague("get", *at, "vs"))
    assert succeeded(colleague("delete", *at, "vs", "reviews")) == f"{name} deleted\n"


def test_nobody_of_a_namespace_writes_elsewhere(mesh: Mesh, colleague: Run) -> None:
    """Neither alone nor together with what is allowed; nothing is written then."""
    there = rule().replace("name: reviews", "name: other, namespace: default")
    for given in (there, rule() + "---\n" + there):
        for command in (("apply",), ("create",), ("apply", "--dry-run")):
            result = colleague("--context", "shop", *command, "-f", "-", stdin=given)
            assert (result.exit_code, result.stdout) == (1, "")
            assert "error: sue, who is namespace in namespace shop, may not write" in result.stderr
            assert "fix:   ask who runs the mesh for a token with another role" in result.stderr
    assert colleague("--context", "shop", "get", "vs").stdout == ""
    assert colleague("--context", "viewer", "get", "vs").stdout == ""


def test_a_viewer_reads_and_is_told_why_not_to_write(mesh: Mesh, colleague: Run) -> None:
    """Status, too; a refused write names who and what role, and what to do."""
    for command in (("get", "vs", "-A"), ("status",), ("proxy-status",)):
        succeeded(colleague("--context", "viewer", *command))
    result = colleague("--context", "viewer", "apply", "-f", "-", stdin=rule())
    assert result.exit_code == 1
    assert "error: vera, who is viewer, may not POST" in result.stderr
    assert "fix:   ask who runs the mesh for a token with another role" in result.stderr


@pytest.mark.parametrize(
    ("context", "error", "fix"),
    [
        ("stranger", "does not know the token of this context", "get a token from who runs the mesh"),
        ("login", "logs in by a program or a password", "use a user with a token"),
        ("broken", 'the cluster of context broken is "nowhere"', "correct the kubeconfig"),
        ("nope", 'there is no context "nope" in', "name one with --context: broken, login, mesh, shop"),
    ],
)
def test_a_context_that_does_not_work_says_why(context: str, error: str, fix: str, mesh: Mesh, colleague: Run) -> None:
    """A sentence and a fix, and no traceback."""
    result = colleague("get", "vs", "--context", context)
    assert (result.exit_code, result.stdout) == (1, "")
    assert error in result.stderr
    assert fix in result.stderr


def test_only_the_meshs_own_root_is_trusted(mesh: Mesh, run: Run, tmp_path: Path) -> None:
    """Without its root in the file, nothing is asked, and no token is sent."""
    given = json.loads(mesh.kubeconfig.read_text())
    del given["clusters"][0]["cluster"]["certificate-authority-data"]
    (tmp_path / "other.yaml").write_text(json.dumps(given))
    result = run("get", "vs", "--kubeconfig", "other.yaml")
    assert (result.exit_code, "is not who other.yaml says" in result.stderr) == (1, True)
    given["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:1"
    (tmp_path / "other.yaml").write_text(json.dumps(given))
    assert "a token is not sent in clear" in run("get", "vs", "--kubeconfig", "other.yaml").stderr


def test_kubectls_file_alone_sends_nothing_there(mesh: Mesh, colleague: Run) -> None:
    """`$KUBECONFIG` is where contexts are looked for; which mesh is meant, it does not say."""
    result = colleague("get", "vs")
    assert (result.exit_code, "no Manager is running" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    "words",
    [
        ("--context", "shop", "up", "mesh.yaml"),
        ("enter", "--context", "shop", "a"),
        ("pc", "all", "a", "--kubeconfig", "x"),
        ("get", "vs", "--context", "shop", "--state-dir", "/x"),
    ],
)
def test_a_mesh_is_named_in_one_way(words: tuple[str, ...], colleague: Run) -> None:
    """What needs the machine of the mesh, or is told two meshes, says so: the command line is wrong."""
    result = colleague(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--state-dir" in result.stderr
