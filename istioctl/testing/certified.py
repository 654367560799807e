"""A directory in which Envoy finds a workload's certificate, as an agent leaves it there. For tests without agents."""

from pathlib import Path

from core.manager.ca.authority import Authority
from core.manager.ca.testing import identity, issued
from core.model.identity import SYSTEM_ROOTS_FILE, SpiffeId
from proxy.identity.certificate import Certificate, Issued, Key
from proxy.identity.secrets import Secrets


def certify(folder: Path, *, whose: SpiffeId | None = None, authority: Authority | None = None) -> None:
    """Any certificate will do where neither is given."""
    signer, shown = authority or Authority.create(), whose or identity()
    chain, key = issued(shown, signer)
    pair = Issued(chain=chain, roots=signer.roots, identity=str(shown), expires=0.0)
    Secrets(folder).write(Certificate(key=Key(key.encode()), issued=pair, since=0.0, renewal=0.0))
    (folder / SYSTEM_ROOTS_FILE).write_text(signer.roots)
