"""The file by which kubectl, and everything that reads the same files, finds the config API and is let in."""

import base64
import contextlib
import secrets
from pathlib import Path

import msgspec

from core.errors import Misconfigured
from core.manager.ca.private import write

NAME = "mesh"
"""Of the cluster, the user and the context in the file."""


def text(server: str, *, roots: str, token: str) -> bytes:
    """JSON, which is YAML, too. `roots`: PEM of the certificates to trust; `server` a URL."""
    cluster = {"server": server, "certificate-authority-data": base64.b64encode(roots.encode()).decode()}
    return msgspec.json.format(
        msgspec.json.encode(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": NAME, "cluster": cluster}],
                "users": [{"name": NAME, "user": {"token": token}}],
                "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME, "namespace": "default"}}],
                "current-context": NAME,
            }
        )
    )


def with_token(content: bytes, token: str) -> bytes:
    """The same file for the same user, who is let in by `token` now."""
    config = msgspec.json.decode(content, type=dict[str, object])
    users = [{"name": NAME, "user": {"token": token}}]
    return msgspec.json.format(msgspec.json.encode({**config, "users": users}))


def put(path: Path, content: bytes) -> None:
    """For its owner alone, whole at every moment. Raises `Misconfigured`."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        write(draft, content)
        draft.replace(path)
    except OSError as error:
        raise Misconfigured(f"{path}: {error.strerror or error}", fix="make its directory writable for you") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
