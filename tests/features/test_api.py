"""The command line against a real config API on a real socket, over a store in memory."""

import asyncio
import json
import os
import shlex
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from core.diagnostics import Diagnostic, Severity
from core.errors import Conflict
from core.manager.api import SOCKET
from core.manager.api.application import ConfigApi
from core.manager.api.server import serve
from core.model.change import ConfigGone, ConfigPut, Synced
from core.model.config import ConfigKey, Document, Put, Write
from core.model.mesh import Mesh
from istioctl.cli import app
from platforms.memory import MemoryConfigStore

Run = Callable[..., Awaitable[Result]]

VS = "networking.istio.io"


def rule(name: str, *, host: str = "reviews", namespace: str = "", extra: str = "") -> str:
    where = f"\n  namespace: {namespace}" if namespace else ""
    return f"""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: {name}{where}
spec:
  hosts: [{host}]
  http:
  - route:
    - destination: {{host: reviews}}
{extra}"""


POLICY = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: reviews
spec:
  host: reviews
  subsets:
  - name: v1
    labels: {version: v1}
"""


class Manager:
    """A running API and what its store was asked to do."""

    def __init__(self) -> None:
        self.store = MemoryConfigStore()
        self.mesh = Mesh()

    def api(self) -> ConfigApi:
        return ConfigApi(self.store, mesh=lambda: self.mesh, proxies=lambda: ())

    async def names(self) -> list[str]:
        return [document.key.name for document in await self.store.list()]


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[Manager]:
    running = Manager()
    async with serve(running.api().application(), tmp_path / SOCKET):
        yield running


@pytest.fixture
def istioctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs beside the Manager, in a thread of its own, as a process would."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ISTIO_STATE_DIR", str(tmp_path))
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    async def run(*args: str, stdin: str = "") -> Result:
        return await asyncio.to_thread(
            CliRunner().invoke, app, args, input=stdin, prog_name="istioctl", catch_exceptions=False
        )

    return run


async def test_a_rule_lives_and_dies(manager: Manager, istioctl: Run) -> None:
    """Applied, it is created; again, unchanged; changed, configured; deleted, gone. One line each, as from kubectl."""
    name = f"virtualservice.{VS}/reviews"
    assert (await istioctl("apply", "-f", "-", stdin=rule("reviews"))).stdout == f"{name} created\n"
    assert (await istioctl("apply", "-f", "-", stdin=rule("reviews"))).stdout == f"{name} unchanged\n"
    assert (await istioctl("apply", "-f", "-", stdin=rule("reviews", host="ratings"))).stdout == f"{name} configured\n"
    assert (await istioctl("get", "vs", "-o", "name")).stdout == f"{name}\n"
    assert (await istioctl("delete", "vs", "reviews")).stdout == f"{name} deleted\n"
    gone = await istioctl("delete", "vs", "reviews")
    assert (gone.exit_code, gone.stdout) == (1, "")
    assert "not found" in gone.stderr


async def test_nothing_is_half_applied_when_a_file_is_wrong(manager: Manager, istioctl: Run, tmp_path: Path) -> None:
    """One wrong document among three: place, code and field of the mistake, and none of them is written."""
    text = "---\n".join([rule("a"), rule("b", extra="    fualt: {}\n"), rule("c")])
    (tmp_path / "rules.yaml").write_text(text)
    result = await istioctl("apply", "-f", "rules.yaml")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "rules.yaml:20:5: Error [IST0106] VirtualService default/b spec.http[0].fualt" in result.stderr
    assert "1 of 3 documents is not valid; nothing was written" in result.stderr
    assert await manager.names() == []


async def test_nothing_is_half_applied_when_the_manager_refuses(manager: Manager, istioctl: Run) -> None:
    """What only the Manager can know (here: the mesh's domain makes two hosts one) is found before the first write."""
    manager.mesh = Mesh(domain_suffix="corp.example")
    text = "---\n".join([rule("a"), rule("b", host="x, x.default.svc.corp.example")])
    result = await istioctl("apply", "-f", "-", stdin=text)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "<stdin>:11: Error [IST0106] virtualservice.networking.istio.io/b spec.hosts[1]: " in result.stderr
    assert "1 of 2 documents is not valid; nothing was written" in result.stderr
    assert await manager.names() == []


async def test_a_rehearsal_writes_nothing(manager: Manager, istioctl: Run) -> None:
    """--dry-run says what would happen to each object."""
    await istioctl("apply", "-f", "-", stdin=rule("a"))
    text = "---\n".join([rule("a"), rule("b")])
    result = await istioctl("apply", "--dry-run", "-f", "-", stdin=text)
    assert result.stdout == f"virtualservice.{VS}/a unchanged (dry run)\nvirtualservice.{VS}/b created (dry run)\n"
    assert await manager.names() == ["a"]


async def test_warnings_are_said_and_do_not_stop(manager: Manager, istioctl: Run) -> None:
    """A doubtful rule is applied; the doubt is on stderr."""
    doubtful = rule("a", extra="  - route:\n    - destination: {host: reviews}\n")
    result = await istioctl("apply", "-f", "-", stdin=doubtful)
    assert (result.exit_code, result.stdout) == (0, f"virtualservice.{VS}/a created\n")
    assert "<stdin>:10:5: Warning [IST0130] VirtualService default/a spec.http[1]" in result.stderr


async def test_namespaces(manager: Manager, istioctl: Run) -> None:
    """-n is for documents without one; a document that says otherwise is refused; lists are per namespace or of all."""
    await istioctl("apply", "-n", "shop", "-f", "-", stdin=rule("a"))
    clash = await istioctl("apply", "-n", "shop", "-f", "-", stdin=rule("b", namespace="other"))
    assert (clash.exit_code, "says namespace other" in clash.stderr) == (1, True)
    assert (await istioctl("get", "vs")).stderr == "no virtualservices in namespace default\n"
    everywhere = (await istioctl("get", "vs", "-A")).stdout.splitlines()
    assert everywhere[0].split() == ["NAMESPACE", "NAME", "GATEWAYS", "HOSTS", "AGE"]
    assert everywhere[1].split()[:2] == ["shop", "a"]


@pytest.mark.parametrize("kind", ["virtualservices", "VirtualService", "vs", "VS", f"virtualservices.{VS}"])
async def test_kinds_have_several_names(kind: str, manager: Manager, istioctl: Run) -> None:
    """Plural, singular, short, in any case."""
    await istioctl("apply", "-f", "-", stdin=rule("a"))
    lines = (await istioctl("get", kind)).stdout.splitlines()
    assert lines[0].split() == ["NAME", "GATEWAYS", "HOSTS", "AGE"]
    assert lines[1].split()[:2] == ["a", '["reviews"]']


async def test_service_entries_show_where_they_lead(manager: Manager, istioctl: Run) -> None:
    """By their short name, with the columns of Istio."""
    entry = rule("a").partition("spec:")[0].replace("VirtualService", "ServiceEntry")
    entry += "spec: {hosts: [a.example.com], location: MESH_EXTERNAL, resolution: DNS, ports: [{number: 1, name: a}]}"
    assert (await istioctl("apply", "-f", "-", stdin=entry)).stdout == f"serviceentry.{VS}/a created\n"
    header, line = (await istioctl("get", "se")).stdout.splitlines()
    assert header.split() == ["NAME", "HOSTS", "LOCATION", "RESOLUTION", "AGE"]
    assert line.split()[:4] == ["a", '["a.example.com"]', "MESH_EXTERNAL", "DNS"]


async def test_several_kinds_are_told_apart(manager: Manager, istioctl: Run) -> None:
    """`all` and lists with commas print a table per kind, with the kind in the name."""
    await istioctl("apply", "-f", "-", stdin=f"{rule('a')}---\n{POLICY}")
    text = (await istioctl("get", "all")).stdout
    assert [line.split()[0] for line in text.splitlines() if line] == [
        "NAME",
        "virtualservice/a",
        "NAME",
        "destinationrule/reviews",
    ]
    assert text == (await istioctl("get", "vs,dr")).stdout


async def test_wide_shows_what_the_manager_found(manager: Manager, istioctl: Run) -> None:
    """-o wide: version, generation, and the worst finding with their number."""
    await istioctl("apply", "-f", "-", stdin=rule("a"))
    found = Diagnostic(code="IST0101", severity=Severity.ERROR, message="no such host")
    await manager.store.report(ConfigKey(VS, "VirtualService", "default", "a"), (found,))
    header, row = (await istioctl("get", "vs", "-o", "wide")).stdout.splitlines()
    assert header.split()[-3:] == ["VERSION", "GENERATION", "FINDINGS"]
    assert row.endswith("1         1            error (1)")


async def test_what_is_printed_can_be_applied_again(manager: Manager, istioctl: Run, tmp_path: Path) -> None:
    """get -o yaml > file, apply -f file: unchanged. The same with json and with a list."""
    await istioctl("apply", "-f", "-", stdin=f"{rule('reviews')}---\n{POLICY}")
    for args in (["vs", "reviews", "-o", "yaml"], ["vs", "reviews", "-o", "json"], ["vs,dr", "-o", "yaml"]):
        printed = (await istioctl("get", *args)).stdout
        applied = await istioctl("apply", "-f", "-", stdin=printed)
        assert applied.exit_code == 0, applied.stderr
        assert {line.split()[1] for line in applied.stdout.splitlines()} == {"unchanged"}


async def test_json_and_yaml_are_the_object(manager: Manager, istioctl: Run) -> None:
    """One object by name is itself; anything else is a List."""
    await istioctl("apply", "-f", "-", stdin=rule("a"))
    one = json.loads((await istioctl("get", "vs", "a", "-o", "json")).stdout)
    many = yaml.safe_load((await istioctl("get", "vs", "-o", "yaml")).stdout)
    assert (one["kind"], one["metadata"]["name"], one["spec"]["hosts"]) == ("VirtualService", "a", ["reviews"])
    assert (many["kind"], [item["metadata"]["name"] for item in many["items"]]) == ("List", ["a"])
    nothing = json.loads((await istioctl("get", "dr", "-o", "json")).stdout)
    assert nothing == {"apiVersion": "v1", "kind": "List", "items": []}


async def test_a_name_that_is_not_there(manager: Manager, istioctl: Run) -> None:
    """get of a missing object fails and says how to see what there is."""
    result = await istioctl("get", "vs", "nobody")
    assert (result.exit_code, result.stdout) == (1, "")
    assert 'there is no virtualservice "nobody" in namespace default' in result.stderr
    assert "istioctl get virtualservices -A" in result.stderr


async def test_files_can_be_deleted_as_they_were_applied(manager: Manager, istioctl: Run) -> None:
    """delete -f removes what the file names, and does not mind that a rule in it is wrong by now."""
    await istioctl("apply", "-f", "-", stdin=f"{rule('a')}---\n{POLICY}")
    broken = "---\n".join([rule("a", extra="    fualt: {}\n"), POLICY])
    result = await istioctl("delete", "-f", "-", stdin=broken)
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 2)
    again = await istioctl("delete", "-f", "-", "--ignore-not-found", stdin=broken)
    assert (again.exit_code, again.stdout) == (0, "")


async def test_a_missing_object_does_not_keep_the_others(manager: Manager, istioctl: Run) -> None:
    """Every object named is tried; the exit code tells that one was missing."""
    await istioctl("apply", "-f", "-", stdin=rule("a"))
    result = await istioctl("delete", "vs", "nobody", "a")
    assert (result.exit_code, result.stdout) == (1, f"virtualservice.{VS}/a deleted\n")


async def test_a_file_that_names_nothing_deletes_nothing(manager: Manager, istioctl: Run) -> None:
    """A document without kind or name stops the deletion before it begins."""
    await istioctl("apply", "-f", "-", stdin=rule("a"))
    result = await istioctl("delete", "-f", "-", stdin=f"{rule('a')}---\nkind: [\n")
    assert result.exit_code == 1
    assert "nothing was deleted" in result.stderr
    assert await manager.names() == ["a"]


async def test_somebody_else_writing_is_not_overwritten_blindly(
    manager: Manager, istioctl: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that met a newer version is done again on that one; if it stays so, nothing is."""
    await istioctl("apply", "-f", "-", stdin=rule("b"))
    commit, refusals = manager.store.commit, [Conflict("too old")]

    async def contested(writes: tuple[Write, ...], *, author: str = "") -> tuple[Document | None, ...]:
        if isinstance(writes[0], Put) and writes[0].document.key.name == "b" and refusals:
            raise refusals[0] if len(refusals) > 1 else refusals.pop()
        return await commit(writes, author=author)

    monkeypatch.setattr(manager.store, "commit", contested)
    text = "---\n".join([rule("a"), rule("b", host="ratings")])
    assert (await istioctl("apply", "-f", "-", stdin=text)).stdout.splitlines()[1].endswith("/b configured")
    refusals += [Conflict("always")] * 2
    result = await istioctl("apply", "-f", "-", stdin="---\n".join([rule("a"), rule("b", host="details")]))
    assert result.exit_code == 1
    assert "somebody else keeps changing these objects: " in result.stderr
    assert "nothing was written" in result.stderr
    assert result.stdout == ""


async def test_several_objects_are_one_transaction(manager: Manager, istioctl: Run) -> None:
    """What is created, changed and removed by one command is one commit each; what stays the same is none."""
    await istioctl("apply", "-f", "-", stdin=rule("a"))
    commits = []
    commit = manager.store.commit

    async def noted(writes: tuple[Write, ...], *, author: str = "") -> tuple[Document | None, ...]:
        commits.append([type(write).__name__ for write in writes])
        return await commit(writes, author=author)

    manager.store.commit = noted  # type: ignore[method-assign]
    text = "---\n".join([rule("a", host="ratings"), rule("b"), POLICY])
    done = await istioctl("apply", "-f", "-", stdin=text)
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["configured", "created", "created"]
    again = await istioctl("apply", "-f", "-", stdin=text)
    assert [line.split()[1] for line in again.stdout.splitlines()] == ["unchanged"] * 3
    assert (await istioctl("delete", "-f", "-", stdin=text)).exit_code == 0
    assert commits == [["Put"] * 3, ["Remove"] * 3]


async def test_a_diff_is_what_apply_would_change(manager: Manager, istioctl: Run) -> None:
    """Nothing stored yet: all of it is new; afterwards nothing; then what is different. The order of fields is not."""
    new = await istioctl("diff", "-f", "-", stdin=rule("a"))
    assert (new.exit_code, new.stderr) == (1, "")
    assert all(line.startswith(("+", "---", "@@")) for line in new.stdout.splitlines())
    await istioctl("apply", "-f", "-", stdin=rule("a"))
    turned = yaml.safe_dump(yaml.safe_load(rule("a")), sort_keys=True)
    same = await istioctl("diff", "-f", "-", stdin=turned)
    assert (same.exit_code, same.stdout) == (0, "")
    other = await istioctl("diff", "-f", "-", stdin=rule("a", host="ratings"))
    assert other.exit_code == 1
    lines = other.stdout.splitlines()
    assert lines[:2] == [
        f"--- stored/default/virtualservice.{VS}/a",
        f"+++ <stdin>:1/default/virtualservice.{VS}/a",
    ]
    assert [line for line in lines[2:] if line[0] in "+-"] == ["-  - reviews", "+  - ratings"]
    assert (await manager.names(), len(await manager.store.history((await manager.store.list())[0].key))) == (["a"], 1)
    wrong = await istioctl("diff", "-f", "-", stdin=rule("a", extra="    fualt: {}\n"))
    assert (wrong.exit_code, wrong.stdout) == (1, "")
    assert (await istioctl("diff")).exit_code == 2


async def test_create_and_replace_say_what_must_be(manager: Manager, istioctl: Run) -> None:
    """One wants all objects to be new, the other none; else nothing is written."""
    missing = await istioctl("replace", "-f", "-", stdin=rule("a"))
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert f"virtualservice.{VS}/a does not exist; nothing was written" in missing.stderr
    assert (await istioctl("create", "--dry-run", "-f", "-", stdin=rule("a"))).stdout.endswith("a created (dry run)\n")
    assert (await istioctl("create", "-f", "-", stdin=rule("a"))).stdout == f"virtualservice.{VS}/a created\n"
    taken = await istioctl("create", "-f", "-", stdin=f"{rule('b')}---\n{rule('a')}")
    assert (taken.exit_code, taken.stdout) == (1, "")
    assert f"virtualservice.{VS}/a exists already; nothing was written" in taken.stderr
    half = await istioctl("replace", "-f", "-", stdin=f"{rule('b')}---\n{rule('a')}")
    assert (half.exit_code, await manager.names()) == (1, ["a"])
    done = await istioctl("replace", "-f", "-", stdin=rule("a", host="ratings"))
    assert done.stdout == f"virtualservice.{VS}/a configured\n"


def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *scripts: str) -> Path:
    """Each opening runs the next of these `sed` scripts; what was shown is kept in shown.1, shown.2, ..."""
    for number, script in enumerate(scripts, 1):
        (tmp_path / f"script.{number}").write_text(script)
    program = tmp_path / "editor"
    program.write_text(f"""#!/bin/sh
cd {tmp_path}
n=$(($(ls shown.* 2>/dev/null | wc -l) + 1))
cp "$1" shown.$n
sed -i -f script.$n "$1"
""")
    program.chmod(0o700)
    monkeypatch.setenv("VISUAL", str(program))
    return tmp_path


def kept(done: Result, *, after: str) -> dict[str, dict[str, object]]:
    """The object in the file that the error names behind these words."""
    text = Path(done.stderr.partition(after)[2].splitlines()[0]).read_text()
    found: dict[str, dict[str, object]] = yaml.safe_load(text)
    return found


async def test_an_object_is_edited(
    manager: Manager, istioctl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake is shown above the text, which is kept; the second time it is right."""
    await istioctl("apply", "-f", "-", stdin=rule("a"))
    editor(tmp_path, monkeypatch, "s/hosts:/hostz:/", "s/hostz:/hosts:/; s/- reviews/- ratings/")
    done = await istioctl("edit", "vs", "a")
    assert (done.exit_code, done.stdout) == (0, f"virtualservice.{VS}/a configured\n")
    (document,) = await manager.store.list()
    assert json.loads(document.spec)["hosts"] == ["ratings"]
    second = (tmp_path / "shown.2").read_text()
    assert "# the text:" in second
    assert "unknown field 'hostz'; did you mean hosts?" in second
    assert "\n  hostz:\n" in second


@pytest.mark.parametrize("script", ["", "d"])
async def test_an_edit_that_changes_nothing_writes_nothing(
    script: str, manager: Manager, istioctl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saved as it was, or empty."""
    await istioctl("apply", "-f", "-", stdin=rule("a"))
    editor(tmp_path, monkeypatch, script)
    done = await istioctl("edit", "vs", "a")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "nothing was changed\n")
    assert [document.revision for document in await manager.store.list()] == ["1"]


async def test_an_edit_that_is_given_up_is_kept(
    manager: Manager, istioctl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same mistake twice, or another name: the error names the file with the text. No editor, no object: said."""
    await istioctl("apply", "-f", "-", stdin=rule("a"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    editor(tmp_path, monkeypatch, "s/name: a/name: b/", "")
    done = await istioctl("edit", "vs", "a")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "this has to stay VirtualService default/a" in (tmp_path / "shown.2").read_text()
    assert kept(done, after="it is in ")["metadata"]["name"] == "b"
    monkeypatch.setenv("VISUAL", "/no/such/editor")
    assert "the editor /no/such/editor failed" in (await istioctl("edit", "vs", "a")).stderr
    assert 'there is no virtualservice "nobody"' in (await istioctl("edit", "vs", "nobody")).stderr


async def test_an_edit_that_somebody_overtook_is_kept(
    manager: Manager, istioctl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newer object stays, and the text is in a file."""
    await istioctl("apply", "-f", "-", stdin=rule("a"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "other.yaml").write_text(rule("a", host="details"))
    overtaking = f"{sys.executable} -c 'from istioctl.cli import main; main()' apply -f {tmp_path}/other.yaml"
    (tmp_path / "slow").write_text(f"#!/bin/sh\n{overtaking} >/dev/null\nsed -i 's/- reviews/- ratings/' $1\n")
    (tmp_path / "slow").chmod(0o700)
    monkeypatch.setenv("EDITOR", str(tmp_path / "slow"))
    monkeypatch.delenv("VISUAL", raising=False)
    done = await istioctl("edit", "vs", "a")
    assert (done.exit_code, done.stdout) == (1, "")
    assert kept(done, after="what you wrote is in ")["spec"]["hosts"] == ["ratings"]
    (document,) = await manager.store.list()
    assert json.loads(document.spec)["hosts"] == ["details"]


async def test_watchers_of_the_store_see_what_was_applied(manager: Manager, istioctl: Run) -> None:
    """What the API stores is what the Manager's watch reports."""
    watch = manager.store.watch()
    assert isinstance(await anext(watch), Synced)
    await istioctl("apply", "-f", "-", stdin=rule("a"))
    put = await anext(watch)
    assert isinstance(put, ConfigPut)
    assert json.loads(put.document.spec)["hosts"] == ["reviews"]
    await istioctl("delete", "vs", "a")
    assert isinstance(await anext(watch), ConfigGone)
    await watch.aclose()  # type: ignore[attr-defined]


async def test_what_is_not_there_is_answered_with_what_was_meant(manager: Manager, istioctl: Run) -> None:
    """A name much like it, or the namespace where it is; for every command that needs it to be there."""
    await istioctl("apply", "-f", "-", stdin=rule("reviews"))
    await istioctl("apply", "-n", "shop", "-f", "-", stdin=rule("details"))
    for command in ("get", "describe", "edit", "status"):
        near = await istioctl(command, "vs", "revews")
        assert (near.exit_code, 'fix:   did you mean "reviews"?' in near.stderr) == (1, True)
        elsewhere = await istioctl(command, "vs", "details")
        assert "fix:   there is one in namespace shop: add -n shop" in elsewhere.stderr


@pytest.mark.parametrize("words", ["get vs", "delete vs", "get vs other", "describe vs", "status vs other"])
async def test_names_are_completed_from_the_mesh(words: str, manager: Manager, istioctl: Run, tmp_path: Path) -> None:
    """TAB behind a kind offers the objects that are there."""
    await istioctl("apply", "-f", "-", stdin="---\n".join([rule("reviews"), rule("ratings", host="ratings")]))
    environment = {"_ISTIOCTL_COMPLETE": "fish_complete", "COMP_WORDS": f"istioctl {words} re", "COMP_CWORD": "re"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from istioctl.cli import main; main()",
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
    )
    stdout, _ = await process.communicate()
    assert stdout.decode().split() == ["plain,reviews"]


async def test_version_names_the_manager(manager: Manager, istioctl: Run) -> None:
    """With a Manager running both versions are shown, in every format."""
    shown = json.loads((await istioctl("version", "-o", "json")).stdout)
    assert set(shown) == {"client", "manager"}
    assert yaml.safe_load((await istioctl("version", "-o", "yaml")).stdout) == shown
    assert (await istioctl("version", "--short")).stdout.split() == [shown["client"], shown["manager"]]
    assert (await istioctl("version")).stdout == (
        f"client version: {shown['client']}\nmanager version: {shown['manager']}\n"
    )


async def test_only_the_owner_may_talk_to_the_manager(manager: Manager, tmp_path: Path) -> None:
    """The socket is there, is the user's, and is nobody else's."""
    found = (tmp_path / SOCKET).stat()
    assert (stat.S_ISSOCK(found.st_mode), stat.S_IMODE(found.st_mode), found.st_uid) == (True, 0o600, os.getuid())


@pytest.mark.parametrize("command", [["get", "all", "-A"], ["get", "vs", "-o", "json"]])
async def test_a_reader_that_goes_away_is_no_failure(
    command: list[str], manager: Manager, istioctl: Run, tmp_path: Path
) -> None:
    """`istioctl get | head -1` ends without a traceback."""
    many = "---\n".join(rule(f"r{i}", host=f"h{i}") for i in range(60))
    await istioctl("apply", "-f", "-", stdin=many)
    program = f"{shlex.quote(sys.executable)} -c 'from istioctl.cli import main; main()' {' '.join(command)}"
    process = await asyncio.create_subprocess_shell(f"{program} | true", stderr=asyncio.subprocess.PIPE)
    _, stderr = await process.communicate()
    assert stderr == b""
