"""What `apply` says of files with typical mistakes: file, line and column, what is wrong, and what to write instead."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]

HEAD = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
"""
ROUTES = "  http: [{route: [{destination: {host: reviews}}]}]\n"
GOOD = HEAD + "  hosts: [reviews]\n" + ROUTES
TYPO = HEAD + "  hosts: [reviews]\n  http: [{timout: 3s, route: [{destination: {host: reviews}}]}]\n"
LIST = "apiVersion: v1\nkind: List\nitems:\n- " + TYPO.replace("\n", "\n  ").rstrip() + "\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + "\thosts: [reviews]\n", r"5:1: Error \[MSH0001\].* indent with spaces, not with tabs"),
        (HEAD + "  hosts: [reviews]\n   http: []\n", r"6:4: Error .* look at the indentation"),
        (GOOD.replace("VirtualService", "VirtualServce"), r"2:1: .*'VirtualServce' is not known; did you mean Virt"),
        (GOOD.replace("io/v1", "io/v9"), r"1:1: .*version 'v9' .* write networking.istio.io/v1 "),
        (GOOD.replace("networking", "network"), r"1:1: .*write apiVersion: networking.istio.io/v1"),
        (TYPO, r"6:11: .* spec.http\[0\].timout: unknown field 'timout'; did you mean timeout\?"),
        (GOOD + "  hosts: [ratings]\n", r"7:3: .* given twice, first in line 5; keep one of them"),
        (GOOD.replace("host: reviews", "host: reviews, port: {number: '80'}"), r"6:\d+: .*write it without quotes"),
        (GOOD.replace("{route", "{timeout: 3, route"), r"6:11: .*must be text, not the number 3; .* a unit: 3s"),
        (
            GOOD.replace("[reviews]", "reviews"),
            r"5:3: .*hosts must be a list, not the text 'reviews'; write \[reviews\]",
        ),
        (GOOD + "---\n" + TYPO.replace("name: reviews", "name: other"), r"13:11: .*default/other .*'timout'"),
        (LIST, r"9:13: .* spec.http\[0\].timout"),
        (TYPO.replace("\n", "\r\n"), r"6:11: .*timeout\?"),
        ("\ufeff" + TYPO, r"6:11: .*timeout\?"),
        (HEAD + "  hosts: *h\n", r"5:10: .*\*h names nothing .* define &h first"),
        ('{"kind": "VirtualService", "spec": {"hosts": [}}', r"1:47: Error \[MSH0001\]"),
        (GOOD.replace("]}]", "}]"), r"6:\d+: .*a closing bracket is missing"),
        ("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n", r"2:1: .*known are VirtualService, "),
        ("", r"no document in f.yaml: nothing, or nothing but comments"),
        ("# later\n---\n", r"no document in f.yaml"),
        ("services:\n  a: {ports: [80/http]}\n", r"f.yaml describes a mesh: istioctl up runs it"),
    ],
)
def test_a_mistake_is_named_with_its_place(
    text: str, said: str, istioctl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent anywhere: no mesh runs here, and that is not what is complained of."""
    monkeypatch.chdir(tmp_path)
    Path("f.yaml").write_bytes(text.encode())
    for command in ("apply", "create", "replace", "diff"):
        result = istioctl(command, "-f", "f.yaml")
        assert (result.exit_code, result.stdout) == (1, "")
        assert re.search(said, result.stderr), result.stderr
        assert "Manager" not in result.stderr


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_how_editors_of_other_systems_write_makes_no_difference(encoding: str, istioctl: Run, tmp_path: Path) -> None:
    """Marks at the beginning, two bytes a letter, ends of lines."""
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    path = tmp_path / "f.yaml"
    path.write_bytes((mark + GOOD.replace("\n", "\r\n")).encode(encoding))
    assert "no Manager is running" in istioctl("apply", "-f", str(path)).stderr
