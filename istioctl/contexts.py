"""Kubeconfigs: which context is meant, and the way to the API that it describes. Reads such files; writes none."""

import base64
import binascii
import os
import ssl
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec

from core.errors import Misconfigured, NotFound
from istioctl.transport import Https

T = TypeVar("T")


class Cluster(msgspec.Struct, frozen=True, rename="kebab"):
    server: str = ""
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    insecure_skip_tls_verify: bool = False
    proxy_url: str = ""
    tls_server_name: str = ""


class User(msgspec.Struct, frozen=True, rename="kebab"):
    token: str = ""
    token_file: str = msgspec.field(default="", name="tokenFile")
    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    username: str = ""
    exec: object = None
    auth_provider: object = None


class Context(msgspec.Struct, frozen=True):
    cluster: str = ""
    user: str = ""
    namespace: str = ""


class _NamedCluster(msgspec.Struct, frozen=True):
    name: str
    cluster: Cluster = Cluster()


class _NamedUser(msgspec.Struct, frozen=True):
    name: str
    user: User = User()


class _NamedContext(msgspec.Struct, frozen=True):
    name: str
    context: Context = Context()


class _File(msgspec.Struct, frozen=True, rename="kebab"):
    """As far as it matters here (`client-go/tools/clientcmd/api/v1.Config`)."""

    clusters: tuple[_NamedCluster, ...] | None = None
    users: tuple[_NamedUser, ...] | None = None
    contexts: tuple[_NamedContext, ...] | None = None
    current_context: str = ""


class Kubeconfig(NamedTuple):
    """What several files say together: of entries with one name the first counts, as for kubectl.

    With each entry the file it is from: paths in it are relative to that.
    """

    clusters: Mapping[str, tuple[Path, Cluster]]
    users: Mapping[str, tuple[Path, User]]
    contexts: Mapping[str, tuple[Path, Context]]
    current: str


def looked_in(given: Path | None) -> tuple[Path, ...]:
    """`given`, else those of `$KUBECONFIG`, else `~/.kube/config`: where kubectl looks."""
    if given is not None:
        return (given,)
    named = tuple(Path(each) for each in os.environ.get("KUBECONFIG", "").split(os.pathsep) if each)
    return named or (Path.home() / ".kube" / "config",)


def read(paths: Iterable[Path]) -> Kubeconfig:
    """Raises `Misconfigured` for a file that is not there or cannot be understood."""
    found = [(path, _read(path)) for path in paths]
    clusters = {each.name: (path, each.cluster) for path, file in reversed(found) for each in file.clusters or ()}
    users = {each.name: (path, each.user) for path, file in reversed(found) for each in file.users or ()}
    contexts = {each.name: (path, each.context) for path, file in reversed(found) for each in file.contexts or ()}
    current = next((file.current_context for _, file in found if file.current_context), "")
    return Kubeconfig(clusters, users, contexts, current)


def _read(path: Path) -> _File:
    try:
        return msgspec.yaml.decode(path.read_bytes(), type=_File)
    except OSError as error:
        fix = "name a kubeconfig with --kubeconfig; istioctl kubeconfig prints the path of a mesh on this machine"
        raise Misconfigured(f"cannot read {path}: {error.strerror}", fix=fix) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path} is no kubeconfig: {error}", fix="name another file with --kubeconfig") from error


class Chosen(NamedTuple):
    """One context, with all that it names."""

    name: str
    file: Path
    context: Context
    config: Kubeconfig

    def way(self) -> Https:
        """Raises `Misconfigured` where istioctl cannot use what is described, and `NotFound` for what is missing."""
        where, cluster = _entry(self.config.clusters, self.context.cluster, f"cluster of context {self.name}")
        _check_cluster(cluster, where)
        trust, headers = _trust(cluster, where), dict[str, str]()
        if self.context.user:
            file, user = _entry(self.config.users, self.context.user, f"user of context {self.name}")
            headers = _introduced(user, file, trust)
        return Https(cluster.server, trust, context=self.name, file=str(self.file), headers=headers)


def choose(paths: tuple[Path, ...], name: str) -> Chosen:
    """The context of this name, "" for the current one. Raises `NotFound`, and `Misconfigured` for unreadable files."""
    config = read(paths)
    said = ", ".join(map(str, paths))
    fix = f"name one with --context: {', '.join(sorted(config.contexts)) or 'there is none'}"
    if not (wanted := name or config.current):
        raise NotFound(f"{said} says of no context that it is the current one", fix=fix)
    if wanted not in config.contexts:
        raise NotFound(f'there is no context "{wanted}" in {said}', fix=fix)
    file, context = config.contexts[wanted]
    return Chosen(wanted, file, context, config)


def _entry(entries: Mapping[str, tuple[Path, T]], name: str, what: str) -> tuple[Path, T]:
    if name not in entries:
        raise NotFound(f'the {what} is "{name}", and there is none of that name', fix="correct the kubeconfig")
    return entries[name]


def _check_cluster(cluster: Cluster, file: Path) -> None:
    url = urlsplit(cluster.server)
    if url.scheme != "https" or not url.hostname:
        text = f'{file}: "{cluster.server}" is no https:// address'
        raise Misconfigured(text, fix="a token is not sent in clear: name the address that serves HTTPS")
    for name, said in (("proxy-url", cluster.proxy_url), ("tls-server-name", cluster.tls_server_name)):
        if said:
            raise Misconfigured(f"{file}: istioctl does not know {name}", fix="use kubectl, or an address without it")


def _trust(cluster: Cluster, file: Path) -> ssl.SSLContext:
    """Of this authority, else of those that the machine trusts."""
    roots = _given(cluster.certificate_authority_data, cluster.certificate_authority, file).decode("ascii", "replace")
    try:
        trust = ssl.create_default_context(cadata=roots or None)
    except ssl.SSLError as error:
        raise Misconfigured(f"{file}: the certificate-authority is no certificate", fix="get a new file") from error
    if cluster.insecure_skip_tls_verify:
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    return trust


def _introduced(user: User, file: Path, trust: ssl.SSLContext) -> dict[str, str]:
    """Headers; a certificate goes into `trust`."""
    if user.exec is not None or user.auth_provider is not None or user.username:
        text = f"{file}: the user logs in by a program or a password, which istioctl does not do"
        raise Misconfigured(text, fix="use a user with a token, a tokenFile, or a client-certificate")
    certificate = _given(user.client_certificate_data, user.client_certificate, file)
    key = _given(user.client_key_data, user.client_key, file)
    if certificate or key:
        _present(trust, certificate + b"\n" + key, file)
    token = user.token or _given("", user.token_file, file).decode("ascii", "replace").strip()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _present(trust: ssl.SSLContext, pair: bytes, file: Path) -> None:
    """The library takes certificates from files only, so this one is a file for a moment, and for its owner alone."""
    with tempfile.NamedTemporaryFile(prefix="istioctl-") as kept:
        kept.write(pair)
        kept.flush()
        try:
            trust.load_cert_chain(kept.name, password=lambda: b"")
        except (ssl.SSLError, OSError) as error:
            text = f"{file}: the client-certificate and client-key of the user are no pair: {error}"
            raise Misconfigured(text, fix="get a new file") from error


def _given(data: str, path: str, file: Path) -> bytes:
    """What is in the kubeconfig itself, else in the file that it names, else nothing."""
    try:
        if data:
            return base64.b64decode(data, validate=True)
        return (file.parent / path).read_bytes() if path else b""
    except binascii.Error as error:
        raise Misconfigured(f"{file}: what should be base64 is not: {error}", fix="get a new file") from error
    except OSError as error:
        raise Misconfigured(f"{file}: cannot read {path}: {error.strerror}", fix="correct the path in it") from error
