"""Where this machine keeps the certificates that it trusts: shown to Envoy under one name, wherever that is.

Not for the mesh's own roots (secrets).
"""

import contextlib
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

KNOWN = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # Alpine, macOS, the BSDs
)


def find() -> Path | None:
    """The bundle (PEM) of this machine; None when it has none. `$SSL_CERT_FILE` wins, as with other programs."""
    return next((path for path in _candidates() if path.is_file() and os.access(path, os.R_OK)), None)


def _candidates() -> Iterator[Path]:
    defaults = ssl.get_default_verify_paths()
    yield from (Path(name) for name in (os.environ.get(defaults.openssl_cafile_env, ""), *KNOWN) if name)
    yield Path(defaults.openssl_cafile)


def show(link: Path) -> Path | None:
    """Makes `link` lead to the bundle, whatever it was before, and says where that is; None: there is none to show."""
    found = find()
    link.unlink(missing_ok=True)
    if found is not None:
        link.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        link.symlink_to(found.absolute())
    return found


def hide(link: Path) -> None:
    """Takes the link away, and its directory if nothing else is in there."""
    with contextlib.suppress(OSError):
        link.unlink(missing_ok=True)
        link.parent.rmdir()
