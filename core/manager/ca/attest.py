"""Who presents a credential: join tokens, which are ours, and whatever the platform knows."""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec

from core.errors import Denied, NotFound
from core.manager.ca.private import directory, kept
from core.manager.ca.spending import Spending
from core.manager.ca.tokens import PREFIX, Claims, Uses, read, write
from core.model.identity import SpiffeId
from core.model.mesh import Mesh
from core.model.secret import Sealed
from core.model.service import WorkloadKey
from core.model.workload import Workload
from core.ports import Attestor

KEY: Final = "token.key"
SPENT: Final = "spent"

_KEY_BYTES: Final = 32


class Members(msgspec.Struct, frozen=True):
    """Who belongs to the mesh at this moment, and what they are called: `settings` of the mesh, workloads by name, and
    the names of those `within` a namespace.
    """

    settings: Callable[[], Mesh]
    workload: Callable[[WorkloadKey], Workload | None]
    within: Callable[[str], Iterable[WorkloadKey]]

    @property
    def trust_domain(self) -> str:
        return self.settings().trust_domain

    def identity(self, key: WorkloadKey) -> SpiffeId:
        """Raises `NotFound`."""
        workload = self.workload(key)
        if workload is None:
            raise NotFound(f"no workload {key} is registered", fix="ask again when it is in the registry")
        return self.account(key.namespace, workload.service_account)

    def account(self, namespace: str, service_account: str) -> SpiffeId:
        return SpiffeId.of(self.trust_domain, namespace=namespace, service_account=service_account)

    def has(self, identity: SpiffeId) -> bool:
        """Whether some workload is called so."""
        namespace = identity.namespace
        found = (self.workload(key) for key in self.within(namespace)) if namespace else ()
        return any(each is not None and self.account(namespace, each.service_account) == identity for each in found)

    def manager(self) -> SpiffeId:
        """The Manager's own, as Istio's."""
        return self.account(self.settings().root_namespace, "istiod")


class JoinTokens:
    """An `Attestor`; makes the tokens, too. `where` is a directory that Managers may share."""

    def __init__(self, where: Path, members: Members, *, clock: Callable[[], float] = time.time) -> None:
        self._key = Sealed(kept(directory(where) / KEY, lambda: secrets.token_bytes(_KEY_BYTES)))
        self._spending = Spending(where / SPENT)
        self._members = members
        self._clock = clock
        self._spending.clean(now=clock())

    def make(self, claims: Claims) -> Sealed:
        return write(claims, self._key)

    async def attest(self, credential: bytes) -> SpiffeId:
        """Uses up a token that is good once: a second call with it raises `Denied`, in every process."""
        claims = read(Sealed(credential), self._key, now=self._clock())
        identity = self._members.account(claims.namespace, claims.service_account)
        if claims.workload and self._members.identity(WorkloadKey(claims.namespace, claims.workload)) != identity:
            raise Denied(f"the workload {claims.workload} is {identity} no more", fix="make another token for it")
        if claims.uses is Uses.ONE:
            await asyncio.to_thread(self._spend, claims)
        return identity

    def _spend(self, claims: Claims) -> None:
        self._spending.clean(now=self._clock())
        if not self._spending.spend(claims.id, expires=claims.expires):
            raise Denied("the join token was used before, and it is good for one use", fix="make another one")


class Credentials:
    """An `Attestor` that knows join tokens from the platform's credentials by their beginning."""

    def __init__(self, tokens: JoinTokens, platform: Attestor | None = None) -> None:
        self._tokens = tokens
        self._platform = platform

    async def attest(self, credential: bytes) -> SpiffeId:
        if credential.startswith(PREFIX.encode()) or self._platform is None:
            return await self._tokens.attest(credential)
        return await self._platform.attest(credential)
