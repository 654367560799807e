"""Keeps a workload's certificate fresh: gets the first, and another at about half of its life, for as long as it runs.

While no new one can be had, the old one goes on serving. Not for how certificates are asked for (authority) or where
they go (secrets).
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import msgspec

from core.errors import MeshError, Unavailable
from proxy.events import Log
from proxy.identity.authority import Authority
from proxy.identity.certificate import Certificate, Facts, Issued, Key, leaf
from proxy.identity.secrets import Secrets
from proxy.supervise import Pace
from proxy.watched import Watched

LIFETIME = 24 * 3600
"""Seconds to ask for, as Istio's agent does."""
HALF = 0.45, 0.55
"""Of its life, when the next certificate is asked for. By chance, so that a mesh does not ask all at once."""
SOONEST = 0.2
"""Of its life: never before that, however long readers take."""
LONGEST_SLEEP = 10.0
"""Seconds. The loop's clock stands still while a machine sleeps; ours does not. Then the files are looked at, too."""
SILENCE, REPEAT = 2.0, 5.0
"""Seconds: a Manager that starts at the same time is no news; afterwards, what is missing is told this often."""
SCRIPT = Path(__file__).with_name("request.py")
SCRIPT_TIMEOUT = 30.0

FIRST = Pace(base=0.1, cap=1.0)
"""Between tries for the first certificate, without which nothing runs."""


def clock() -> float:
    """Seconds that go on while the machine sleeps, and that nobody sets."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How it stands: the certificate in use, and what keeps a new one from coming (`reason` "": nothing)."""

    facts: Facts | None = None
    expired: bool = False
    reason: str = ""
    fix: str = ""

    @property
    def valid(self) -> bool:
        return self.facts is not None and not self.expired


class Rotation:
    """`run` never returns. `standing` can be watched.

    Events: `certificate.issued`; `certificate.adopted` from a killed predecessor, with no Manager around; while there
    is none, `certificate.missing` again and again; `certificate.renewal_failed` once for each cause;
    `certificate.expired` once. `certificate.restored`: its files were not as they were written.
    """

    def __init__(
        self,
        authority: Authority,
        secrets: Secrets,
        *,
        lifetime: int = LIFETIME,
        log: Log,
        random: Random | None = None,
    ) -> None:
        self._authority = authority
        self._secrets = secrets
        self._lifetime = lifetime
        self._log = log
        self._random = random or Random()
        self._current: Certificate | None = None
        self._pending: Certificate | None = None
        self._asked: tuple[Key, bytes] | None = None
        self._clock: Callable[[], float] = clock
        self._silent_until = clock() + SILENCE
        self.standing = Watched(Standing())

    async def run(self) -> None:
        failures = 0
        while True:
            await self._until_due()
            try:
                await self._renew()
                failures = 0
            except MeshError as error:
                if self._current is None and isinstance(error, Unavailable):
                    await self._adopt()
                self._failed(error)
                await asyncio.sleep(self._pace().wait(failures + 1, self._random))
                failures += 1

    async def _until_due(self) -> None:
        while self._current is not None and (left := self._current.renewal - self._clock()) > 0:
            await asyncio.sleep(min(left, LONGEST_SLEEP))
            await self._mend(self._current)

    async def _mend(self, certificate: Certificate) -> None:
        """Files that somebody harmed: Envoy lives on, but the next one would not come up."""
        with contextlib.suppress(MeshError):
            if await asyncio.to_thread(self._secrets.write, certificate):
                self._log("certificate.restored", serial=leaf(certificate.issued.chain).serial)

    async def _renew(self) -> None:
        """A certificate that could not be written is kept for the next try, unless it is half over meanwhile."""
        if self._pending is None or self._pending.renewal < self._clock():
            self._pending = await self._obtain()
        facts = self._facts(self._pending)
        await asyncio.to_thread(self._secrets.write, self._pending)
        self._current, self._pending = self._pending, None
        self.standing.set(Standing(facts=facts))
        self._log("certificate.issued", identity=facts.identity, serial=facts.serial, life=self._current.issued.life)

    async def _adopt(self) -> None:
        """No Manager, but an agent that was killed here has left a certificate: it serves until there is a Manager.

        Not if the Manager was there and said no, and not if it is from a mesh with other roots.
        """
        found = await asyncio.to_thread(self._secrets.read)
        if found is None or not self._authority.believes(found[2]):
            return
        key, chain, roots = found
        seen = leaf(chain)
        if (life := seen.end - time.time()) > 0:
            now = self._clock()
            issued = Issued(chain=chain, roots=roots, identity=seen.identity, expires=seen.end, life=life)
            self._current = Certificate(key=key, issued=issued, since=now, renewal=now)
            self.standing.set(Standing(facts=self._facts(self._current)))
            self._log("certificate.adopted", identity=seen.identity, serial=seen.serial, life=life)

    async def _obtain(self) -> Certificate:
        """A key for which there is no certificate yet is kept for the next try: making one is most of the work."""
        self._asked = self._asked or await request()
        key, csr = self._asked
        issued = await self._authority.sign(csr, lifetime=self._lifetime)
        self._asked = None
        now = self._clock()
        return Certificate(key=key, issued=issued, since=now, renewal=now + self._good_for(issued.life))

    def _good_for(self, life: float) -> float:
        """Seconds until the next is asked for: earlier by what its readers take to see it, if it lives long enough."""
        return max(life * self._random.uniform(*HALF) - self._secrets.unread, life * SOONEST)

    def _facts(self, certificate: Certificate) -> Facts:
        issued = certificate.issued
        renewal = time.time() + certificate.renewal - self._clock()
        serial = leaf(issued.chain).serial
        return Facts(identity=issued.identity, serial=serial, expires=issued.expires, renewal=round(renewal, 3))

    def _pace(self) -> Pace:
        """Short lives need quick tries; for the usual day it is every half minute."""
        if self._current is None:
            return FIRST
        life = self._current.issued.life
        return Pace(base=min(1.0, life / 40), cap=min(30.0, life / 10))

    def _failed(self, error: MeshError) -> None:
        """Each cause is told once; that the certificate ran out, too."""
        before, is_over = self.standing.value, self._is_over()
        now = Standing(facts=before.facts, expired=is_over, reason=str(error), fix=error.fix)
        self.standing.set(now)
        if before.facts is None:
            self._tell_missing(error)
        elif before.reason != now.reason:
            self._log("certificate.renewal_failed", reason=now.reason, fix=now.fix)
        if is_over and not before.expired:
            self._log("certificate.expired", reason=now.reason, fix=now.fix)

    def _tell_missing(self, error: MeshError) -> None:
        now = self._clock()
        if now >= self._silent_until:
            self._silent_until = now + REPEAT
            self._log("certificate.missing", reason=str(error), fix=error.fix)

    def _is_over(self) -> bool:
        return self._current is not None and self._current.end <= self._clock()


async def request() -> tuple[Key, bytes]:
    """A new key and the request for it, made by a process of its own."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", str(SCRIPT)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(SCRIPT_TIMEOUT):
            out, err = await child.communicate()
    except TimeoutError:
        raise Unavailable(f"no key was made within {SCRIPT_TIMEOUT:g} s", fix="Is this machine overloaded?") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        last = err.decode(errors="replace").strip().rpartition("\n")[2]
        raise Unavailable(f"no key could be made: {last}", fix="Is the package `cryptography` installed?")
    key, mark, rest = out.partition(b"-----BEGIN CERTIFICATE REQUEST")
    return Key(key), mark + rest
