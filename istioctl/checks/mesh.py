"""The mesh that runs with a state directory: its Manager, its proxies, their certificates, and its documents."""

import asyncio
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from core.errors import MeshError
from core.kinds.registry import KINDS
from core.manager.paths import agent_directory, agent_socket, homes, numbered
from core.manager.status import MeshStatus
from core.model.service import WorkloadKey
from istioctl.checks.verdict import Verdict, doubtful, failed, good
from istioctl.client import Api
from istioctl.entering import agent
from istioctl.output import age
from istioctl.sidecars import sidecars
from proxy.envoy_process import Files
from proxy.health import Admin

PATIENCE = 1.0
"""Seconds for one answer: everything here is on this machine."""

LATE = 0.25
"""A certificate is replaced at about half of its life; with less than this share left, that did not happen."""


SILENT = "its agent does not answer"


class Certificate(msgspec.Struct, frozen=True):
    """Seconds since the epoch. `names` are the identities in it."""

    begins: float
    ends: float
    names: tuple[str, ...] = ()


class Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """What an Envoy and its agent say. `state` is Envoy's (`LIVE`), "" when it does not answer; `trouble` says why.

    `unready` is what the agent says when it is not ready, "" when it is. `log` is the file that Envoy writes to,
    `agent` the process of one that does not answer.
    """

    workload: WorkloadKey
    state: str = ""
    trouble: str = ""
    unready: str = ""
    certificates: tuple[Certificate, ...] = ()
    log: str = ""
    agent: str = ""


class Finding(msgspec.Struct, frozen=True):
    document: str
    text: str


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """`manager`: its version, "" when it does not answer; `trouble` says why then. `managers`: those to be."""

    now: float
    manager: str = ""
    managers: tuple[int, ...] = (1,)
    trouble: str = ""
    fix: str = ""
    status: MeshStatus = MeshStatus(proxies=())
    proxies: tuple[Proxy, ...] = ()
    errors: tuple[Finding, ...] = ()


def gather(state: Path) -> Facts:
    """Asks everybody at once; blocks for at most some seconds, mostly for less than one."""
    proxies = asyncio.run(_proxies(state, sidecars(state)))
    try:
        with Api(state, timeout=2 * PATIENCE) as api:
            version, status, errors = api.release().git_version, api.status(), tuple(_errors(api))
    except MeshError as error:
        return Facts(now=time.time(), trouble=str(error), fix=error.fix, proxies=proxies)
    numbers = tuple(numbered(state, each) for each in homes(state))
    return Facts(now=time.time(), manager=version, managers=numbers, status=status, proxies=proxies, errors=errors)


def _errors(api: Api) -> Iterable[Finding]:
    for kind in KINDS:
        for each in api.list(kind):
            for message in each.status.validation_messages:
                if message.level.lower() == "error":
                    name = f"{kind.kind} {each.metadata.namespace}/{each.metadata.name}"
                    yield Finding(name, f"[{message.type.code}] {message.message}; {message.fix}")


async def _proxies(state: Path, keys: Iterable[WorkloadKey]) -> tuple[Proxy, ...]:
    return tuple(await asyncio.gather(*(_proxy(state, key) for key in keys)))


async def _proxy(state: Path, key: WorkloadKey) -> Proxy:
    files = Files(agent_directory(state, key))
    admin = Admin(str(files.admin), timeout=PATIENCE)
    try:
        condition, answer = await admin.state(), await admin.get("/certs")
    except MeshError as error:
        return Proxy(workload=key, trouble=str(error), log=str(files.log))
    unready = await _unready(agent_socket(state, key))
    stuck = await asyncio.to_thread(_process, state, key) if unready == SILENT else ""
    held = certificates(answer.body)
    return Proxy(workload=key, state=condition, unready=unready, certificates=held, log=str(files.log), agent=stuck)


def _process(state: Path, key: WorkloadKey) -> str:
    try:
        return agent(state, key).name
    except MeshError:
        return ""


async def _unready(socket: Path) -> str:
    """Nothing where the agent has no socket: then Envoy alone says how it is."""
    if not await asyncio.to_thread(socket.exists):
        return ""
    try:
        answer = await Admin(str(socket), timeout=PATIENCE).get("/healthz/ready")
    except MeshError:
        return SILENT
    return "" if answer.status == 200 else (answer.text.strip() or f"HTTP {answer.status}")


class _Name(msgspec.Struct, frozen=True):
    uri: str = ""


class _Listed(msgspec.Struct, frozen=True):
    valid_from: datetime | None = None
    expiration_time: datetime | None = None
    subject_alt_names: tuple[_Name, ...] = ()


class _Pair(msgspec.Struct, frozen=True):
    cert_chain: tuple[_Listed, ...] = ()


class _Certs(msgspec.Struct, frozen=True):
    certificates: tuple[_Pair, ...] = ()


def certificates(body: bytes) -> tuple[Certificate, ...]:
    """Those that a proxy shows (Envoy's answer to `/certs`), one for each that it holds. Nothing of what it trusts."""
    try:
        found = msgspec.json.decode(body, type=_Certs)
    except msgspec.DecodeError:
        return ()
    leaves = (pair.cert_chain[0] for pair in found.certificates if pair.cert_chain)
    return tuple(
        Certificate(_seconds(each.valid_from), _seconds(each.expiration_time), _names(each)) for each in leaves
    )


def _seconds(moment: datetime | None) -> float:
    return moment.astimezone(UTC).timestamp() if moment else 0.0


def _names(listed: _Listed) -> tuple[str, ...]:
    return tuple(name.uri for name in listed.subject_alt_names if name.uri)


def judge(facts: Facts) -> tuple[Verdict, ...]:
    if not facts.manager:
        return (failed("the Manager answers", facts.trouble, fix=facts.fix), *_of_proxies(facts))
    return (
        _answering(facts),
        _connected(facts),
        _synced(facts),
        _refused(facts),
        _in_order(facts),
        *_of_proxies(facts),
    )


def _answering(facts: Facts) -> Verdict:
    silent = sorted(set(facts.managers) - set(facts.status.managers))
    if silent:
        names = ", ".join(f"manager/{number}" for number in silent)
        fix = "check again in half a minute: istioctl up ends a Manager that says nothing for 20 s, and starts it anew"
        return failed("every Manager answers", f"not this one: {names}", fix=fix)
    who = "the Manager answers" if len(facts.managers) == 1 else f"all {len(facts.managers)} Managers answer"
    return good(f"{who} (version {facts.manager})")


def _of_proxies(facts: Facts) -> tuple[Verdict, ...]:
    return _live(facts), _ready(facts), _certified(facts)


def _connected(facts: Facts) -> Verdict:
    missing = {each.workload for each in facts.proxies} - {each.workload for each in facts.status.proxies}
    text = "every proxy is connected to the Manager"
    if not missing:
        return good(f"{text} ({len(facts.status.proxies)} of them)")
    fix = "wait some seconds and check again; then look at what istioctl up printed, and into their logs"
    return failed(text, f"not connected: {_listed(missing)}", fix=fix)


def _synced(facts: Facts) -> Verdict:
    behind = [each.workload for each in facts.status.proxies if not each.synced]
    text = "every proxy has what the Manager sends it"
    if not behind:
        return good(text)
    return failed(text, f"behind: {_listed(behind)}", fix=f"istioctl proxy-status {behind[0]} shows what is missing")


def _refused(facts: Facts) -> Verdict:
    """Documents that proxies would not take, so that their last good version is in force."""
    text, held = "no document is out of force because a proxy refused it", facts.status.held
    if not held:
        return good(text)
    names = ", ".join(dict.fromkeys(str(each.document) for each in held))
    return failed(text, names, fix=f"istioctl proxy-status {held[0].workload} shows why; correct the document")


def _in_order(facts: Facts) -> Verdict:
    text = "no document has errors"
    if not facts.errors:
        return good(text)
    first = facts.errors[0]
    more = f" (and {len(facts.errors) - 1} more)" if len(facts.errors) > 1 else ""
    return doubtful(text, f"{first.document}: {first.text}{more}", fix="istioctl get all -A -o wide shows all of them")


def _live(facts: Facts) -> Verdict:
    text = "every Envoy takes calls"
    if not facts.proxies:
        return doubtful(text, "there is none", fix="write services into the mesh file")
    out = [each for each in facts.proxies if each.state != "LIVE"]
    if not out:
        return good(text)
    why = "; ".join(f"{each.workload}: {each.trouble or each.state}" for each in out[:3])
    return failed(text, why, fix=_log(out[0]))


def _ready(facts: Facts) -> Verdict:
    text = "every agent says that its workload is ready"
    out = [each for each in facts.proxies if each.unready]
    if not out:
        return good(text)
    why = "; ".join(f"{each.workload}: {each.unready}" for each in out[:3])
    fix = "look at what the application printed: it has to listen where $APP_IP and $PORT say"
    return failed(text, why, fix=_agent(out[0]) if out[0].unready == SILENT else fix)


def _log(proxy: Proxy) -> str:
    return f"see what it says: tail {proxy.log}" if proxy.log else "see what istioctl up printed of it"


def _agent(proxy: Proxy) -> str:
    ending = f"kill -KILL {proxy.agent}" if proxy.agent else "end its process"
    return f"{ending}: istioctl up starts it again, with its Envoy and application"


def _certified(facts: Facts) -> Verdict:
    """The one that ends first decides: of a proxy's certificates, the newest; of all proxies, the earliest."""
    ends = {
        each.workload: max(each.certificates, key=lambda one: one.ends) for each in facts.proxies if each.certificates
    }
    text = "every certificate is valid"
    without = [each.workload for each in facts.proxies if each.state == "LIVE" and not each.certificates]
    if without:
        fix = "see what istioctl up printed of them, then start the mesh anew"
        return doubtful("every proxy has a certificate", f"none: {_listed(without)}", fix=fix)
    if not ends:
        return doubtful(text, "no proxy could be asked", fix="see above")
    workload, first = min(ends.items(), key=lambda item: item[1].ends)
    begin = max(ends.items(), key=lambda item: item[1].begins)
    if first.ends <= facts.now:
        fix = f"see why its agent gets no new one (istioctl proxy-config secret {workload}), or start the mesh anew"
        return failed(text, f"that of {workload} ended {age(facts.now - first.ends)} ago", fix=fix)
    if begin[1].begins > facts.now:
        late = age(begin[1].begins - facts.now)
        return failed(text, f"that of {begin[0]} begins in {late}", fix="set the clock (timedatectl set-ntp true)")
    left = first.ends - facts.now
    if left < LATE * (first.ends - first.begins):
        fix = "see whether the Manager runs (above): agents ask it for new certificates"
        return doubtful("certificates are replaced in time", f"that of {workload} ends in {age(left)}", fix=fix)
    return good(f"every certificate is valid (for at least {age(left)})")


def _listed(keys: Iterable[WorkloadKey]) -> str:
    return ", ".join(map(str, sorted(keys)))
