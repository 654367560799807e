"""The steps about where calls go: the page, versions, headers, shares, faults, and rules that go again."""

import shutil
import subprocess

import msgspec

from istioctl.demo.proof.chance import bounds
from istioctl.demo.proof.site import Failed, Site, counted, part, version
from istioctl.demo.settings import RULES
from istioctl.demo.stage import broken

ENOUGH = 60
"""Pages on which three versions of equal chance are all seen: one is missing once in 10 thousand million runs."""

FEW = 30
SPLIT, FAULTS = 400, 200
DELAY = 1.0

DELAYED = f"""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: details, namespace: default}}
spec:
  hosts: [details]
  http:
  - fault: {{delay: {{fixedDelay: {DELAY:g}s, percentage: {{value: 100}}}}}}
    route: [{{destination: {{host: details}}}}]
"""


def page(site: Site) -> str:
    """As somebody outside asks for it: with curl, where there is one."""
    url = " ".join(site.stage.entrance.curl)
    if shutil.which("curl"):
        command = ["curl", "-sS", "--max-time", "10", *site.stage.entrance.curl]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"curl {url}: {done.stderr.strip()}")
        text, how = done.stdout, f"curl {url}"
    else:
        answer = site.page()
        text, how = answer.body.decode(errors="replace"), f"HTTP {answer.status} from {url} (there is no curl here)"
    try:
        found = msgspec.json.decode(text, type=dict[str, object])
    except msgspec.DecodeError:
        raise Failed(f"{how}: {text[:200]!r}") from None
    if missing := broken(found):
        raise Failed(f"{how}: the page lacks {', '.join(missing)}")
    return f"{how}: {found.get('title')!r} with details and reviews"


def all_versions(site: Site) -> str:
    """An instance gets calls once its application listens: the last one may come a moment after the first page."""

    def look() -> str:
        found = site.versions(ENOUGH)
        if set(found) != {"v1", "v2", "v3"}:
            raise Failed(counted(found))
        return counted(found)

    return site.eventually(look)


def by_header(site: Site) -> str:
    site.apply(RULES / "versions.yaml", RULES / "jason.yaml")

    def look() -> str:
        jason, others = site.versions(FEW, end_user="jason"), site.versions(FEW)
        if (set(jason), set(others)) != ({"v2"}, {"v1"}):
            raise Failed(f"jason: {counted(jason)}; others: {counted(others)}")
        return f"jason: {counted(jason)}; others: {counted(others)}"

    return site.eventually(look)


def split(site: Site) -> str:
    site.istioctl("delete", "vs", "reviews", "--ignore-not-found")
    site.istioctl("shift", "reviews", "v1=90", "v3=10")
    site.eventually(lambda: _nobody_sees(site, "v2"))
    found = site.versions(SPLIT)
    if found["v3"] not in bounds(0.1, SPLIT) or found["v1"] + found["v3"] != SPLIT:
        raise Failed(counted(found))
    return f"{counted(found)} ({found['v3'] / SPLIT:.1%} to v3)"


def _nobody_sees(site: Site, unwanted: str) -> str:
    found = site.versions(FEW)
    if unwanted in found:
        raise Failed(counted(found))
    return counted(found)


def abort(site: Site) -> str:
    site.apply(RULES / "broken-details.yaml")
    site.eventually(lambda: _some_fail(site))
    failures = [part(each, "details").get("status") for each in site.pages(FAULTS) if "details" in broken(each)]
    if len(failures) not in bounds(0.5, FAULTS) or set(failures) != {503}:
        raise Failed(f"{len(failures)} failed, with {sorted(set(map(str, failures)))}")
    return f"{len(failures)} of {FAULTS} failed with 503"


def _some_fail(site: Site) -> str:
    if not any("details" in broken(each) for each in site.pages(FEW)):
        raise Failed(f"none of {FEW} pages lacks details")
    return ""


def delay(site: Site) -> str:
    site.istioctl("apply", "-f", "-", stdin=DELAYED)

    def look() -> str:
        took = [answer.seconds for answer in (site.page(), site.page())]
        if min(took) < DELAY:
            raise Failed(f"pages after {' and '.join(f'{each:.2f}' for each in took)} s")
        return f"pages after {' and '.join(f'{each:.2f}' for each in took)} s"

    return site.eventually(look)


def removal(site: Site) -> str:
    site.istioctl("delete", "vs", "reviews", "details")

    def look() -> str:
        found = site.pages(ENOUGH)
        lacking = [each for each in found if broken(each)]
        versions = {version(each) for each in found}
        took = site.page().seconds
        if lacking or versions != {"v1", "v2", "v3"} or took >= DELAY:
            raise Failed(f"{len(lacking)} of {ENOUGH} pages lack something; versions {sorted(versions)}; {took:.2f} s")
        return f"{ENOUGH} of {ENOUGH} pages are whole, from v1, v2 and v3; one took {took * 1000:.0f} ms"

    return site.eventually(look)


def in_sync(site: Site) -> str:
    def look() -> str:
        proxies = msgspec.json.decode(site.istioctl("proxy-status", "-o", "json"), type=list[dict[str, object]])
        behind = [str(each.get("node")) for each in proxies if each.get("synced") is not True]
        if behind or len(proxies) != len(site.stage.workloads):
            raise Failed(
                f"{len(proxies)} of {len(site.stage.workloads)} connected; behind: {', '.join(behind) or 'none'}"
            )
        return f"{len(proxies)} of {len(proxies)} are"

    return site.eventually(look)
