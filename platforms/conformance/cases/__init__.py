"""The cases, one file per group. The table is the suite: a case that is not in it does not run."""

from platforms.conformance.case import Case
from platforms.conformance.cases import election, events, findings, instances, lifecycle, services, store

CASES: tuple[Case, ...] = (
    *lifecycle.CASES,
    *services.CASES,
    *instances.CASES,
    *events.CASES,
    *store.CASES,
    *findings.CASES,
    *election.CASES,
)
