"""`POST /v1/certificate`: what is asked and answered over HTTP, and in which words a refusal is said."""

import logging
import math
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from cryptography.x509 import load_der_x509_certificate

from core.errors import Denied, MeshError, NotFound, Unavailable
from core.manager.ca.authority import Issued
from core.manager.ca.issuer import Issuer
from core.manager.ca.requests import Unacceptable
from core.manager.ca.web import Answer, Call, Handler
from core.model.service import WorkloadKey

PATH: Final = "/v1/certificate"

_CODES: Final[tuple[tuple[type[MeshError], int], ...]] = (
    (Unacceptable, 400),
    (Denied, 403),
    (NotFound, 404),
    (Unavailable, 503),
)
_log = logging.getLogger(__name__)

Issue = Callable[[Call, float | None], Awaitable[Issued]]


class Refusal(msgspec.Struct, frozen=True):
    error: str
    fix: str = ""


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """The answer: PEM, the leaf first; `expires` in epoch seconds."""

    chain: str
    roots: str
    expires: float
    identity: str


def for_workload(issuer: Issuer, key: WorkloadKey) -> Handler:
    """Whoever comes through this socket is that workload."""

    async def issue(call: Call, lifetime: float | None) -> Issued:
        return issuer.for_workload(key, call.body, lifetime)

    return _handler(issue)


def for_strangers(issuer: Issuer) -> Handler:
    """Whoever comes has to prove who it is: by a certificate of ours, or by a credential."""

    async def issue(call: Call, lifetime: float | None) -> Issued:
        scheme, _, credential = call.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return await issuer.for_credential(credential.strip().encode(), call.body, lifetime)
        if call.peer:
            return issuer.for_peer(load_der_x509_certificate(call.peer), call.body, lifetime)
        fix = "send a join token (Authorization: Bearer ...), or connect with a certificate of this mesh"
        raise Denied("nothing says who is asking", fix=fix)

    return _handler(issue)


def _handler(issue: Issue) -> Handler:
    async def handle(call: Call) -> Answer:
        try:
            _check_place(call)
            return _answer(await issue(call, _lifetime(call)))
        except MeshError as error:
            _log.warning("certificate refused", extra={"reason": str(error)})
            code = next((code for kind, code in _CODES if isinstance(error, kind)), 500)
            return Answer(code, msgspec.json.encode(Refusal(str(error), error.fix)))
        except Exception:
            # One of the places that outlive a bug: it costs this caller its answer, and nobody else theirs.
            _log.exception("certificate failed")
            return Answer(500, msgspec.json.encode(Refusal("the Manager failed; its log says how")))

    return handle


def _answer(issued: Issued) -> Answer:
    certificate = Certificate(
        chain=issued.chain, roots=issued.roots, expires=issued.expires, identity=str(issued.identity)
    )
    return Answer(200, msgspec.json.encode(certificate))


def _check_place(call: Call) -> None:
    if (call.method, call.path) != ("POST", PATH):
        raise NotFound(f"{call.method} {call.path} is not served", fix=f"POST a CSR to {PATH}")


def _lifetime(call: Call) -> float | None:
    text = call.query.get("lifetime")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise Unacceptable(f"lifetime={text} is no number of seconds", fix="lifetime=3600 is an hour")
    return seconds
