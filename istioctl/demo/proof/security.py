"""The steps about who calls whom: verified identities, no plain text, and what the sidecars counted of both."""

import asyncio
from collections import Counter

from istioctl.demo.prometheus import Series
from istioctl.demo.proof.site import Failed, Site, part
from istioctl.demo.scrape import scrape
from istioctl.demo.stage import WHOLE
from istioctl.demo.traffic import NOBODY, Row, rows


def plaintext(site: Site) -> str:
    """From a process outside of the mesh, which knows the addresses and reaches them, but has no certificate."""
    found = (each for each in site.stage.plan.instances if each.workload is not None)
    targets = {f"http://{each.address}:{port}/": str(each.workload) for each in found for _, port in each.ports}
    answers = dict(zip(targets.values(), site.plainly(tuple(targets)), strict=True))
    let_in = [f"{name} answered HTTP {status}" for name, (status, _) in answers.items() if status]
    far = [f"{name}: {said}" for name, (_, said) in answers.items() if not _was_refused(said)]
    if let_in or far or not answers:
        raise Failed("; ".join((*let_in, *far)) or "there is nobody to call")
    return f"none of {len(answers)} answered ({', '.join(sorted({said for _, said in answers.values()}))})"


def _was_refused(said: str) -> bool:
    """Whoever cannot get there at all proves nothing."""
    return not any(word in said.lower() for word in ("timed out", "unreachable", "no route", "refused"))


def identities(site: Site) -> str:
    """As the applications were told them (x-forwarded-client-cert), from what their sidecars verified."""
    page = site.pages(1)[0]
    seen = {name: str(body.get("calledBy")) for name, body in _parts(page).items()}
    wanted = {"productpage": site.stage.identity_of("ingress"), **dict.fromkeys(WHOLE, _page_identity(site))}
    wrong = [f"{name} was called by {seen.get(name) or 'nobody known'}, not {who}" for name, who in wanted.items()
             if seen.get(name) != who]  # fmt: skip
    if wrong:
        raise Failed("; ".join(wrong))
    return f"reviews and details were called by {wanted['reviews']}, productpage by {wanted['productpage']}"


def _page_identity(site: Site) -> str:
    return site.stage.identity_of("productpage-v1")


def _parts(page: dict[str, object]) -> dict[str, dict[str, object]]:
    return {"productpage": page, **{name: part(page, name) for name in WHOLE}}


def encrypted(site: Site) -> str:
    """By the metrics of those who were called, since they started: `connection_security_policy`."""

    def look() -> str:
        samples = asyncio.run(scrape(site.stage.state, site.stage.workloads))
        total: Counter[Series] = Counter()
        for sample in samples.values():
            total.update(sample)
        table = rows(dict(total), seconds=1.0, known=site.stage.versions)
        open_ones = [f"{row.service} {row.version}: {mutual_text(row.mutual)}" for row in table if wants_mutual(row)]
        if open_ones or len(samples) < len(site.stage.workloads):
            raise Failed(f"{len(samples)} sidecars answered; not all by mutual TLS: {', '.join(open_ones) or 'none'}")
        return f"all {sum(row.rate for row in table):.0f} calls, to {len(site.stage.versions)} versions"

    return site.eventually(look)


def wants_mutual(row: Row) -> bool:
    """Whether something is missing from a row: nobody arrived, or not everybody by mutual TLS."""
    return row.version != NOBODY and row.mutual != 1.0


def mutual_text(share: float | None) -> str:
    return "no call was counted" if share is None else f"{share:.1%} of calls"
