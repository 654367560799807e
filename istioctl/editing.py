"""The round of an edit: text out, editor, text back, and again with what was wrong, until it is right or given up."""

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from core.errors import MeshError, Misconfigured
from core.kinds.kind import Kind
from core.manager.api.objects import Resource
from istioctl.applying import Wanted, commit, rehearse, wanted_of
from istioctl.checking import check, line_of
from istioctl.client import Api
from istioctl.differing import as_written
from istioctl.output import as_yaml
from istioctl.sources import Source

_HEAD = "# Lines that begin with # at the top are not part of it. Saved without a change, or empty, nothing happens.\n"


def edited(api: Api, kind: Kind, stored: Resource) -> str:
    """What became of it, "" when nothing was changed. Raises `MeshError`; what was typed is then in a file it names."""
    text = as_yaml(as_written(stored)) + "\n"
    given, problems = text, ""
    while True:
        typed = _without_head(_typed(_HEAD + problems + given))
        if not typed.strip() or typed == text:
            return ""
        if problems and typed == given:
            raise _given_up(typed)
        try:
            wanted = _wanted(typed, kind, stored)
            return _written(api, wanted, stored)
        except Misconfigured as error:
            given, problems = typed, "".join(f"# {line}\n" for line in str(error).splitlines())
        except MeshError as error:
            raise MeshError(f"{error}; what you wrote is in {_kept(typed)}", fix=error.fix) from error


def _wanted(text: str, kind: Kind, stored: Resource) -> Wanted:
    """Raises `Misconfigured` with a line for each mistake."""
    checked = check([Source("the text", text)], namespace=stored.metadata.namespace)
    lines = [line_of(d) for each in checked if each.verdict == "invalid" for d in each.diagnostics]
    documents = [each.entry.document for each in checked if each.entry.document]
    if lines or len(documents) != 1:
        raise Misconfigured("\n".join(lines) or "the text has to be one object")
    wanted = wanted_of(documents[0], None)
    old, new = stored.metadata, wanted.resource.metadata
    if (wanted.kind, new.namespace, new.name) != (kind, old.namespace, old.name):
        raise Misconfigured(f"this has to stay {kind.kind} {old.namespace}/{old.name}: apply creates other objects")
    return wanted


def _written(api: Api, wanted: Wanted, stored: Resource) -> str:
    steps, refusals = rehearse(api, (wanted,))
    if refusals:
        raise Misconfigured("\n".join(refusals[0].lines()))
    (done,) = commit(api, [steps[0]._replace(revision=stored.metadata.resource_version)], attempts=1)
    return str(done)


def _typed(text: str) -> str:
    """What the user made of it. Raises `Misconfigured` when there is no editor, or it failed."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="istioctl-edit-") as folder:
        path = Path(folder) / "object.yaml"
        path.write_text(text)
        try:
            subprocess.run([*shlex.split(editor), str(path)], check=True)
            return path.read_text(errors="surrogateescape")
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            fix = "set EDITOR to one that works here; nothing was changed"
            raise MeshError(f"the editor {editor} failed: {error}", fix=fix) from error


def _without_head(text: str) -> str:
    lines = text.splitlines(keepends=True)
    first = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "".join(lines[first:])


def _given_up(typed: str) -> MeshError:
    return Misconfigured(f"the text is still wrong; nothing was written, and it is in {_kept(typed)}",
                         fix="correct it there, and istioctl apply -f it")  # fmt: skip


def _kept(typed: str) -> str:
    descriptor, name = tempfile.mkstemp(prefix="istioctl-edit-", suffix=".yaml")
    with open(descriptor, "w", errors="surrogateescape") as file:
        file.write(typed)
    return name
