"""The certificate where gRPC finds it: three PEM files, replaced as a set by one rename of a link.

gRPC looks at files from time to time (`file_watcher`), and would meet a key beside another's certificate otherwise. Not
for Envoy, which is told by one file for each secret (`secrets`).
"""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from core.errors import Unavailable
from proxy.identity.certificate import Certificate, Key
from proxy.identity.secrets import Secrets, write_private

CHAIN, KEY, ROOTS = "cert-chain.pem", "key.pem", "root-cert.pem"
"""Istio's names for them."""


REFRESH = 2.0
"""Seconds: how often gRPC is told to look. Left alone: 10 minutes, more than a short life."""


class PemSecrets(Secrets):
    """A set of files behind the link `certificates` in `directory`, beside an agent's other things."""

    unread = REFRESH

    def __init__(self, directory: Path, *, pair: Path | None = None) -> None:
        super().__init__(directory, pair=pair)
        self._directory = directory
        self._other = pair
        self.link = directory / "certificates"

    @property
    def exist(self) -> bool:
        return self.link.exists()

    def write(self, certificate: Certificate) -> bool:
        """Whether there was anything to write. As a set, so that a key never stands beside another's certificate.

        Raises `Unavailable` when the disk does not take it; what was there before is then untouched.
        """
        issued = certificate.issued
        if (found := self.read()) and (found[0].pem, *found[1:]) == (certificate.key.pem, issued.chain, issued.roots):
            return False
        files = {CHAIN: issued.chain.encode(), KEY: certificate.key.pem, ROOTS: issued.roots.encode()}
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._swap(files)
            if self._other is not None:
                self._other.parent.mkdir(mode=0o700, exist_ok=True)
                write_private(self._other, files[CHAIN] + files[KEY])
        except OSError as error:
            fix = "The agent goes on trying."
            raise Unavailable(f"cannot write {self.link}: {error.strerror or error}", fix=fix) from error
        return True

    def read(self) -> tuple[Key, str, str] | None:
        try:
            chain, key, roots = ((self.link / name).read_bytes() for name in (CHAIN, KEY, ROOTS))
        except OSError:
            return None
        return Key(key), chain.decode(), roots.decode()

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            self.link.unlink(missing_ok=True)
            self._clear(kept=None)

    def _swap(self, files: dict[str, bytes]) -> None:
        new = Path(tempfile.mkdtemp(prefix="certificates.", dir=self._directory))
        for name, content in files.items():
            write_private(new / name, content)
        # A link cannot take the place of another one but by rename.
        fresh = new.with_suffix(".link")
        os.symlink(new.name, fresh)
        fresh.replace(self.link)
        self._clear(kept=new)

    def _clear(self, *, kept: Path | None) -> None:
        for old in self._directory.glob("certificates.*"):
            if old.is_symlink():
                old.unlink()
            elif old != kept:
                shutil.rmtree(old, ignore_errors=True)
