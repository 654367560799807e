"""A kubeconfig for somebody else: made, used by a real kubectl, and taken back, against the true Manager."""

import json
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from core.manager.api.enrolment import Enrolment
from istioctl.cli import app
from istioctl.local.testing import eventually
from istioctl.testing.kubectl import Kubectl, Mesh, running

pytestmark = pytest.mark.timeout(60)

Run = Callable[..., Result]

RULE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews}}]}]}
"""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with running(tmp_path_factory.mktemp("mesh")) as mesh:
        yield mesh


@pytest.fixture
def istioctl(mesh: Mesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """In a directory of its own."""
    monkeypatch.delenv("ISTIO_KUBECONFIG", raising=False)
    monkeypatch.setenv("ISTIO_STATE_DIR", str(mesh.state))
    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> Result:
        return CliRunner().invoke(app, ["kubeconfig", *args], prog_name="istioctl", catch_exceptions=False)

    return run


@pytest.fixture
def guest(istioctl: Run, tmp_path: Path) -> Iterator[Callable[..., Kubectl]]:
    """Somebody of a name, let in with some options, with a kubectl of theirs; out again at the end."""
    names = []

    def invited(name: str, *options: str, namespace: str = "default") -> Kubectl:
        result = istioctl("create", name, *options, "-o", f"{name}.yaml")
        assert (result.exit_code, result.stdout) == (0, ""), result.stderr
        names.append(name)
        return Kubectl(tmp_path / f"{name}.yaml", tmp_path / name, namespace=namespace)

    yield invited
    for name in names:
        istioctl("revoke", name)


def refused(kubectl: Kubectl) -> bool:
    done = kubectl.run("get", "vs")
    return done.returncode == 1 and ("Unauthorized" in done.stderr or "provide credentials" in done.stderr)


def test_a_viewer_reads_at_once_and_writes_nothing(istioctl: Run, guest: Callable[..., Kubectl], mesh: Mesh) -> None:
    """Without a restart; the file is for its owner alone, and what is kept of the token gives nothing away."""
    vera = guest("vera")
    path = Path("vera.yaml")
    token = json.loads(path.read_text())["users"][0]["user"]["token"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert vera("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}") == "vera"
    assert "No resources found" in vera.run("get", "vs").stderr
    assert "vera, who is viewer, may not" in vera.run("apply", "-f", "-", stdin=RULE).stderr
    assert token not in mesh.tokens.read_text()
    listed = json.loads(istioctl("list", "-o", "json").stdout)
    assert [(each["name"], each["role"], each["owner"]) for each in listed] == [
        ("local", "admin", True),
        ("vera", "viewer", False),
    ]


def test_who_is_let_into_one_namespace_begins_there(guest: Callable[..., Kubectl]) -> None:
    """kubectl needs no -n for it, and may not look elsewhere."""
    sue = guest("sue", "--role", "namespace", "-n", "shop", namespace="shop")
    assert "created" in sue("apply", "-f", "-", stdin=RULE)
    sue("delete", "vs", "reviews")
    assert json.loads(Path("sue.yaml").read_text())["contexts"][0]["context"]["namespace"] == "shop"
    assert "may not" in sue.run("get", "vs", "-A").stderr


def test_who_is_revoked_is_refused_at_once(istioctl: Run, guest: Callable[..., Kubectl], mesh: Mesh) -> None:
    """Also in a watch that is open, which says why it ends; others stay."""
    ada, vera = guest("ada", "--role", "admin"), guest("vera")
    ada("apply", "-f", "-", stdin=RULE)
    watch = vera.start("get", "vs", "-w")
    assert watch.stdout
    assert "NAME" in watch.stdout.readline()
    assert "reviews" in watch.stdout.readline()
    assert istioctl("revoke", "vera").stdout == "vera revoked\n"
    assert refused(vera)
    said, _ = watch.communicate(timeout=5)
    assert "the token of this watch is not good any more" in said
    assert "reviews" in ada("delete", "vs", "reviews")
    noted = [json.loads(line) for line in mesh.audit.read_text().splitlines()]
    mine = [(each["verb"], each["object"], each["outcome"]) for each in noted if "vera" in each["object"]]
    assert mine[-2:] == [("create", "caller vera (viewer)", 201), ("delete", "caller vera", 200)]
    assert {each["who"] for each in noted if "virtualservices" in each["object"]} >= {"ada"}


def test_somebody_is_let_in_for_a_while(istioctl: Run, guest: Callable[..., Kubectl]) -> None:
    """And then not; the name is free again."""
    vera = guest("vera", "--ttl", "2s")
    assert vera.run("get", "vs").returncode == 0
    eventually(lambda: refused(vera), within=6)
    assert "over" in istioctl("list").stdout
    Path("vera.yaml").unlink()
    assert guest("vera").run("get", "vs").returncode == 0


def test_the_owners_token_can_be_made_anew(istioctl: Run, guest: Callable[..., Kubectl], mesh: Mesh) -> None:
    """The kubeconfig of the mesh is good at once, a copy of the old one no more; others stay let in."""
    vera = guest("vera")
    mesh.tokens.write_text("# mine\n" + mesh.tokens.read_text())
    old = Path("old.yaml")
    old.write_bytes(mesh.kubeconfig.read_bytes())
    result = istioctl("rotate")
    assert (result.exit_code, result.stdout) == (0, "")
    assert refused(Kubectl(old.absolute(), Path("h").absolute()))
    assert Kubectl(mesh.kubeconfig, Path("h").absolute()).run("get", "vs").returncode == 0
    assert vera.run("get", "vs").returncode == 0
    assert mesh.tokens.read_text().startswith("# mine\n")
    assert [stat.S_IMODE(path.stat().st_mode) for path in (mesh.kubeconfig, mesh.tokens)] == [0o600, 0o600]


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("create", "local", "-o", "x.yaml"), 1, "there is somebody called local already"),
        (("create", "a b", "-o", "x.yaml"), 1, "'a b' is no name"),
        (("create", "#a", "-o", "x.yaml"), 1, "'#a' is no name"),
        (("create", "vera", "-o", "taken.yaml"), 1, "taken.yaml exists already"),
        (("create", "vera", "-o", "no/where.yaml"), 1, "cannot write no/where.yaml"),
        (("create", "vera"), 2, "--output"),
        (("create", "vera", "-n", "shop", "-o", "x.yaml"), 2, "leave -n out"),
        (("create", "vera", "--role", "namespace", "-o", "x.yaml"), 2, "-n names"),
        (("create", "vera", "--ttl", "soon", "-o", "x.yaml"), 2, "is no duration"),
        (("revoke", "nobody"), 1, "there is nobody called nobody"),
        (("revoke", "local"), 1, "can only be made anew"),
        (("revok", "vera"), 2, "No such command"),
    ],
)
def test_mistakes_leave_nothing_behind(args: tuple[str, ...], code: int, said: str, istioctl: Run, mesh: Mesh) -> None:
    """Neither a file nor somebody who is let in."""
    Path("taken.yaml").write_text("mine")
    before = mesh.tokens.read_text()
    result = istioctl(*args)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr
    assert mesh.tokens.read_text() == before
    assert [path.name for path in Path.cwd().iterdir()] == ["taken.yaml"]
    assert Path("taken.yaml").read_text() == "mine"


def test_only_an_admin_lets_people_in(istioctl: Run, guest: Callable[..., Kubectl]) -> None:
    """A viewer sees who is let in; nobody but an admin changes it."""
    body = json.dumps({"name": "mallory", "role": "admin"})
    for kubectl in (guest("vera"), guest("sue", "--role", "namespace", "-n", "shop")):
        assert "may not POST" in kubectl.run("create", "--raw", "/v1/callers", "-f", "-", stdin=body).stderr
        assert "may not POST" in kubectl.run("create", "--raw", "/v1/owner-token", "-f", "-", stdin="{}").stderr
        assert "may not DELETE" in kubectl.run("delete", "--raw", "/v1/callers/vera").stderr
    assert "mallory" not in istioctl("list").stdout


def test_people_who_come_at_the_same_time_are_all_let_in(mesh: Mesh) -> None:
    """Several Managers edit one file: none loses what another has written."""
    program = (
        "import sys; from pathlib import Path; from core.manager.api.callers import Newcomer\n"
        "from core.manager.api.enrolment import Enrolment\n"
        "for i in range(10): Enrolment(Path(sys.argv[1])).create(Newcomer(name=f'{sys.argv[2]}{i}', role='viewer'))"
    )
    enrolment = Enrolment(mesh.state)
    before = len(enrolment.listed())
    both = [subprocess.Popen([sys.executable, "-c", program, str(mesh.state), name]) for name in ("a", "b")]
    assert [each.wait(20) for each in both] == [0, 0]
    assert len(enrolment.listed()) == before + 20
    for name in "ab":
        for i in range(10):
            enrolment.revoke(f"{name}{i}")
    assert len(enrolment.listed()) == before
