"""Routes of the config API about identities: making join tokens, and what somebody needs to know who wants to join."""

import secrets
import time
from collections.abc import Callable
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core.kinds.names import is_dns_label, is_dns_name
from core.manager.api.answers import answer
from core.manager.api.failures import Failure
from core.manager.api.questions import body_of
from core.manager.api.tokens import Made, Wanted
from core.manager.ca.attest import JoinTokens, Members
from core.manager.ca.authority import Authority
from core.manager.ca.doors import Doors
from core.manager.ca.tokens import Claims, Uses
from core.model.service import WorkloadKey

LONGEST: Final = 365 * 24 * 3600.0
"""Seconds that a token may be good for."""


class Minting:
    """`trust` says whom to believe, and where to come."""

    def __init__(
        self,
        tokens: JoinTokens,
        members: Members,
        authority: Authority,
        doors: Doors,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._tokens = tokens
        self._members = members
        self._authority = authority
        self._doors = doors
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        return Route("/v1/tokens", self._make, methods=["POST"]), Route("/v1/trust", self._trust, methods=["GET"])

    async def _make(self, request: Request) -> Response:
        wanted = _decode(await body_of(request))
        claims = Claims(
            id=secrets.token_hex(16),
            namespace=wanted.namespace,
            service_account=wanted.service_account or self._account(wanted),
            workload=wanted.workload,
            expires=int(self._clock() + wanted.ttl),
            uses=Uses(wanted.uses),
        )
        identity = self._members.account(claims.namespace, claims.service_account)
        if identity == self._members.manager():
            raise Failure(400, f"{identity} is the Manager's own identity, and nobody else's")
        token = self._tokens.make(claims).value.decode()
        return answer(Made(token=token, identity=str(identity), expires=claims.expires, uses=claims.uses), code=201)

    def _account(self, wanted: Wanted) -> str:
        workload = self._members.workload(WorkloadKey(wanted.namespace, wanted.workload))
        if workload is None:
            raise Failure(404, f"no workload {wanted.workload}.{wanted.namespace} is registered")
        return workload.service_account

    async def _trust(self, request: Request) -> Response:
        ports = msgspec.to_builtins(self._doors.ports)
        return answer({"roots": self._authority.roots, "manager": str(self._members.manager()), "ports": ports})


def _decode(body: bytes) -> Wanted:
    """Raises `Failure` 400."""
    try:
        wanted = msgspec.json.decode(body, type=Wanted)
    except msgspec.DecodeError as error:
        raise Failure(400, f"this describes no token: {error}") from error
    if bool(wanted.workload) == bool(wanted.service_account):
        raise Failure(400, "a token is for a workload or for a service account: name one of them")
    if not is_dns_label(wanted.namespace) or not is_dns_name(wanted.workload or wanted.service_account):
        raise Failure(400, f"{wanted.namespace}/{wanted.workload or wanted.service_account} is no name")
    if wanted.uses not in list(Uses):
        raise Failure(400, f"a token is good for 1 use or unlimited uses, not for {wanted.uses}")
    if not 1 <= wanted.ttl <= LONGEST:
        raise Failure(400, f"a token is good for 1 s to {LONGEST / 86400:g} days, not for {wanted.ttl:g} s")
    return wanted
