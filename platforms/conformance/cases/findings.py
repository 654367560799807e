"""Group I, about findings: kept beside documents, followed and remembered; they are no change of a document."""

from core.diagnostics import Diagnostic, Reported, Severity
from core.model.config import Revised, Snapshot
from core.ports import VersionedStore
from platforms.conformance.case import Case, Subject, case
from platforms.conformance.cases.documents import a_document, a_key, the_next, with_seconds


async def i12_findings_are_no_change(subject: Subject) -> None:
    """What is reported about a document changes neither its revision nor its generation, and nobody is told."""
    finding = Diagnostic(code="IST0101", severity=Severity.WARNING, message="x")
    async with subject.store() as store:
        made = await store.put(a_document())
        await store.report(made.key, (finding,))
        assert await store.get(made.key) == made
        if isinstance(store, VersionedStore):
            assert await store.status(made.key) == (finding,)
            changed = await store.put(with_seconds(made, seconds=2))
            assert [r.document for r in await the_next(store.changes(made.revision), 1, subject)] == [changed]


async def i19_findings_are_remembered(subject: Subject) -> None:
    """Each change keeps what was last reported while it was the newest; what nobody took back holds for the next."""
    async with subject.versioned() as store:
        made = await store.put(a_document())
        await store.report(made.key, _findings("IST0101"))
        await store.report(made.key, _findings("IST0102"))
        second = await store.put(with_seconds(made, seconds=2))
        third = await store.put(with_seconds(second, seconds=3))
        await store.report(made.key, ())
        await store.delete(made.key)
        again = await store.put(a_document())
        wrong = _findings("IST0102")
        assert await store.judged(made.key) == {made.revision: wrong, second.revision: wrong}
        assert third.revision not in await store.judged(made.key), "what was taken back is still held against it"
        assert await store.status(again.key) == (), "an object made anew has the findings of the old one"
        assert await store.judged(a_key("unknown")) == {}


async def i20_reports_have_their_place(subject: Subject) -> None:
    """Whoever follows events is told of new findings once, in order, from either side, and never has a gap."""
    async with subject.versioned() as store, subject.versioned() as other:
        made = await store.put(a_document())
        assert await store.reported() == ()
        before = await store.snapshot()
        for findings in (_findings("IST0101"), _findings("IST0101")):
            await store.report(made.key, findings)
        await store.report(a_key("unknown"), _findings("IST0101"))
        (reported,) = await store.reported(name=made.key.name)
        assert (reported.key, reported.findings) == (made.key, _findings("IST0101"))
        assert int(reported.revision) > int(before.revision)
        assert await store.snapshot() == Snapshot(before.documents, reported.revision)
        changed = await other.put(with_seconds(made, seconds=2))
        for one in (store, other):
            told = await the_next(one.events(before.revision), 2, subject)
            assert told[0] == reported
            assert isinstance(told[1], Revised)
            assert told[1].document == changed
            assert await the_next(one.events(reported.revision), 1, subject) == told[1:]
        await other.report(made.key, ())
        (last,) = await the_next(store.events(changed.revision), 1, subject)
        assert isinstance(last, Reported)
        assert last.findings == ()


def _findings(code: str) -> tuple[Diagnostic, ...]:
    return (Diagnostic(code=code, severity=Severity.WARNING, message="x"),)


CASES: tuple[Case, ...] = (
    case(i12_findings_are_no_change),
    case(i19_findings_are_remembered),
    case(i20_reports_have_their_place),
)
