"""Group I: documents are kept as written, nobody's write is lost, and every change can be followed."""

import asyncio
from collections.abc import Awaitable

import msgspec

from core.errors import Conflict, Expired, MeshError, NotFound
from core.model.change import ConfigGone, ConfigPut, Synced
from core.model.config import ConfigKey, Document, Put, Remove, Revised, Snapshot
from core.model.labels import Labels
from core.ports import ConfigStore, VersionedStore
from platforms.conformance.case import Case, Subject, case
from platforms.conformance.cases.documents import GROUP, a_document, a_key, a_spec, the_next, with_seconds


async def i1_documents_are_kept(subject: Subject) -> None:
    """A document is created, read, changed and deleted; it says when and as what it came to be."""
    async with subject.store() as store:
        made = await store.put(msgspec.structs.replace(a_document(note="x"), labels=Labels.of({"team": "a"})))
        assert made.revision, "no revision"
        assert made.uid, "no uid"
        assert made.created > 0, "no time of creation"
        assert await store.get(made.key) == made
        changed = await store.put(with_seconds(made, seconds=2))
        assert (changed.spec, changed.uid, changed.created) == (a_spec(2), made.uid, made.created)
        assert changed.generation == made.generation + 1
        await store.delete(made.key)
        assert await store.get(made.key) is None
        assert (await store.put(a_document())).uid != made.uid, "an object made anew is another object"


async def i2_creating_what_exists_is_refused(subject: Subject) -> None:
    """Creating a document that exists is a conflict, and changes nothing."""
    async with subject.store() as store:
        made = await store.put(a_document())
        await _refused(store.put(a_document(seconds=2)))
        assert await store.list() == (made,)


async def i3_stale_updates_are_refused(subject: Subject) -> None:
    """An update of an older version is a conflict, and changes nothing; so is one of what is gone."""
    async with subject.store() as store:
        made = await store.put(a_document())
        newer = await store.put(with_seconds(made, seconds=2))
        await _refused(store.put(with_seconds(made, seconds=3)))
        assert await store.get(made.key) == newer
        await store.delete(made.key)
        await _refused(store.put(with_seconds(newer, seconds=3)))
        assert await store.get(made.key) is None


async def i4_deletes_may_be_conditional(subject: Subject) -> None:
    """A delete of an older version is a conflict; without a version it always works, but once."""
    async with subject.store() as store:
        made = await store.put(a_document())
        newer = await store.put(with_seconds(made, seconds=2))
        await _refused(store.delete(made.key, revision=made.revision))
        assert await store.get(made.key) == newer
        await store.delete(made.key, revision=newer.revision)
        try:
            await store.delete(made.key)
        except NotFound:
            return
        raise AssertionError("deleted twice")


async def i5_lists_by_kind_and_namespace(subject: Subject) -> None:
    """A list has what was asked for, all of it and nothing else, in the order of the keys."""
    async with subject.store() as store:
        for namespace in ("b", "a"):
            for kind in ("VirtualService", "DestinationRule"):
                for name in ("two", "one"):
                    await store.put(a_document(ConfigKey(GROUP, kind, namespace, name)))
        every = [document.key for document in await store.list()]
        assert every == sorted(every)
        assert len(every) == 8
        assert [d.key for d in await store.list(kind="VirtualService")] == [k for k in every if k.kind[0] == "V"]
        assert [d.key for d in await store.list(namespace="a")] == [k for k in every if k.namespace == "a"]
        some = await store.list(group=GROUP, kind="DestinationRule", namespace="b")
        assert [d.key.name for d in some] == ["one", "two"]
        assert await store.list(group="unknown") == ()


async def i6_no_gap_between_list_and_changes(subject: Subject) -> None:
    """Whoever lists while others write, and goes on from there, ends with what is stored."""
    async with subject.versioned() as store:
        listed = [await store.snapshot()]
        writing = asyncio.create_task(_busy(store, subject.budgets.many))
        while not writing.done():
            listed.append(await store.snapshot())
            await asyncio.sleep(0)
        writing.result()
        final = await store.snapshot()
        assert any(listed[0].documents != snapshot.documents != final.documents for snapshot in listed)
        for snapshot in listed[:: len(listed) // 10 + 1]:
            assert await _followed(subject, store, snapshot) == {document.key: document for document in final.documents}


async def i7_too_old_is_said(subject: Subject) -> None:
    """Who asks for changes since a version that is no longer remembered is told so, and is not left waiting."""
    async with subject.versioned() as store:
        made = await store.put(a_document())
        last = await store.put(with_seconds(made, seconds=2))
        await subject.world.forget()
        changed = await store.put(with_seconds(last, seconds=3))
        for since in (made.revision, str(int(changed.revision) + 1000), "nonsense", ""):
            await _expired(subject, store, since)
        assert [r.document for r in await the_next(store.changes(last.revision), 1, subject)] == [changed]


async def i8_no_update_is_lost(subject: Subject) -> None:
    """Twenty writers at once, from two sides, that try again after a conflict: each one's change is there."""
    async with subject.store() as one, subject.store() as other:
        key = (await one.put(a_document(seconds=0))).key
        async with asyncio.timeout(subject.budgets.sync * 4), asyncio.TaskGroup() as writers:
            for number in range(20):
                writers.create_task(_increment((one, other)[number % 2], key))
        final = await one.get(key)
        assert final is not None
        assert final.spec == a_spec(20)
        assert final == await other.get(key)


async def i9_unknown_fields_are_kept(subject: Subject) -> None:
    """What others keep in an object and we have no word for is there when it is read, and a change of it is one."""
    extra = b'{"metadata":{"finalizers":["a/b"],"ownerReferences":[{"uid":"1"}]},"status":{"n":1.5}}'
    spec = msgspec.json.encode(msgspec.json.decode(a_spec(1)) | {"fieldFromTheFuture": {"x": [None, True]}})
    async with subject.store() as store:
        made = await store.put(msgspec.structs.replace(a_document(), extra=extra, spec=spec))
        assert msgspec.json.decode(made.extra) == msgspec.json.decode(extra)
        assert msgspec.json.decode(made.spec) == msgspec.json.decode(spec)
        assert await store.get(made.key) == made
        changed = await store.put(msgspec.structs.replace(made, extra=b'{"metadata":{"finalizers":[]}}'))
        assert changed.revision != made.revision
        assert changed.generation == made.generation


async def i10_invalid_documents_are_refused(subject: Subject) -> None:
    """A document that the store does not take is refused by an error that names the field."""
    document, field = subject.world.invalid()
    async with subject.store() as store:
        await _refused_saying(store, document, field)


async def i11_too_large_documents_are_refused(subject: Subject) -> None:
    """A document that is too large is refused by an error that says so."""
    document = a_document(note="x" * subject.world.largest())
    async with subject.store() as store:
        await _refused_saying(store, document, "large")


async def i13_several_writes_are_one(subject: Subject) -> None:
    """Of several writes all are done or none; what comes later in them sees what came before."""
    async with subject.versioned() as store:
        made = await store.put(a_document())
        fresh, late = a_document(a_key("fresh")), a_document(a_key("late"))
        before = await store.snapshot()
        for bad in (Put(late), Remove(a_key("missing")), Remove(made.key, "no such revision")):
            await _refused(
                store.commit((Put(late), Put(with_seconds(made, seconds=2)), Remove(made.key), Put(fresh), bad))
            )
            assert await store.snapshot() == before, f"a part was written before {bad}"
        results = await store.commit((Put(with_seconds(made, seconds=2)), Put(fresh), Remove(fresh.key)), author="ann")
        assert [result and result.spec for result in results] == [a_spec(2), a_spec(1), None]
        told = await the_next(store.changes(before.revision), 3, subject)
        assert [r.key.name for r in told] == [made.key.name, "fresh", "fresh"]
        assert {r.author for r in told} == {"ann"}


async def i14_spelling_is_no_change(subject: Subject) -> None:
    """The order of keys and white space do not make a new version."""
    async with subject.store() as store:
        made = await store.put(msgspec.structs.replace(a_document(), spec=b'{"hosts":["a"],"gateways":["mesh"]}'))
        again = msgspec.structs.replace(made, spec=b'{ "gateways" : ["mesh"],\n"hosts": ["a"] }')
        assert await store.put(again) == made


async def i15_every_change_is_told_once_and_in_order(subject: Subject) -> None:
    """A quick watcher and a slow one are told the same changes, each once, in order, with what was before."""
    async with subject.versioned() as store:
        since = (await store.snapshot()).revision
        async with asyncio.timeout(subject.budgets.sync * 4), asyncio.TaskGroup() as tasks:
            tasks.create_task(_busy(store, subject.budgets.many))
            watchers = [tasks.create_task(_until_end(store, since, pause)) for pause in (0.0, 0.002)]
        quick, slow = [watcher.result() for watcher in watchers]
        assert quick == slow
        numbers = [int(revised.revision) for revised in quick]
        assert numbers == sorted(set(numbers))
        known: dict[ConfigKey, Document | None] = {}
        for revised in quick:
            assert known.get(revised.key) == revised.before, f"a change is missing before {revised}"
            assert revised.document is None or revised.document.revision == revised.revision
            known[revised.key] = revised.document


async def i16_the_other_side_sees_it(subject: Subject) -> None:
    """What is written through one opened platform reaches the watches of another one."""
    async with subject.versioned() as one, subject.versioned() as other:
        watch, since = one.watch(), (await one.snapshot()).revision
        async with asyncio.timeout(subject.budgets.sync):
            assert await anext(watch) == Synced()
        made = await other.put(a_document())
        async with asyncio.timeout(subject.budgets.event):
            assert await anext(watch) == ConfigPut(made)
        await other.delete(made.key)
        async with asyncio.timeout(subject.budgets.event):
            assert await anext(watch) == ConfigGone(made.key)
        assert [r.document for r in await the_next(one.changes(since), 2, subject)] == [made, None]


async def i17_revisions_are_never_used_again(subject: Subject) -> None:
    """Revisions grow, over deletions and over a restart."""
    seen = []
    for _ in range(3):
        async with subject.versioned() as store:
            made = await store.put(a_document())
            await store.delete(made.key)
            seen += [int(made.revision), int((await store.snapshot()).revision)]
    assert seen == sorted(set(seen)), seen


async def i18_history_is_remembered(subject: Subject) -> None:
    """What became of a document, by whom, can be asked, also when it is gone; one begins where the other ended."""
    async with subject.versioned() as store:
        (made,) = await store.commit((Put(a_document()),), author="ann")
        assert made is not None
        await store.put(a_document(a_key("other")))
        await store.commit((Put(with_seconds(made, seconds=2)),), author="bob")
        await store.commit((Remove(made.key),), author="cyd")
        told = await store.history(made.key)
        assert [revised.author for revised in told] == ["ann", "bob", "cyd"]
        assert [revised.document and revised.document.spec for revised in told] == [a_spec(1), a_spec(2), None]
        assert [revised.before for revised in told[1:]] == [revised.document for revised in told[:-1]]
        assert await store.history(a_key("unknown")) == ()


async def _busy(store: ConfigStore, count: int) -> None:
    """Creates, changes and deletes until a document named `end` is there."""
    for number in range(count):
        await asyncio.sleep(0)  # a store need not wait for anything, but others have to get their turn
        made = await store.put(a_document(a_key(f"n{number % 7}-{number}")))
        changed = await store.put(with_seconds(made, seconds=number + 2))
        if number % 3:
            await store.delete(changed.key)
    await store.put(a_document(a_key("end")))


def _is_end(revised: Revised) -> bool:
    return revised.key.name == "end"


async def _followed(subject: Subject, store: VersionedStore, snapshot: Snapshot) -> dict[ConfigKey, Document]:
    """What one believes who takes the snapshot and follows the changes after it, to the end."""
    believed = {document.key: document for document in snapshot.documents}
    changes = store.changes(snapshot.revision)
    async with asyncio.timeout(subject.budgets.sync):
        while a_key("end") not in believed:
            revised = await anext(changes)
            assert believed.pop(revised.key, None) == revised.before, f"a change is missing before {revised}"
            if revised.document is not None:
                believed[revised.key] = revised.document
    return believed


async def _until_end(store: VersionedStore, since: str, pause: float) -> list[Revised]:
    told = []
    async for revised in store.changes(since):
        told.append(revised)
        if _is_end(revised):
            break
        await asyncio.sleep(pause)
    return told


async def _expired(subject: Subject, store: VersionedStore, since: str) -> None:
    try:
        told = await the_next(store.changes(since), 1, subject)
    except Expired:
        return
    except TimeoutError:
        raise AssertionError(f"who asks for changes since {since} is left waiting") from None
    raise AssertionError(f"changes since {since} are told, with a gap: {told}")


async def _increment(store: ConfigStore, key: ConfigKey) -> None:
    while True:
        current = await store.get(key)
        assert current is not None
        seconds = next(number for number in range(21) if current.spec == a_spec(number))
        try:
            await store.put(with_seconds(current, seconds=seconds + 1))
        except Conflict:
            continue
        return


async def _refused(write: Awaitable[object]) -> None:
    try:
        await write
    except (Conflict, NotFound):
        return
    raise AssertionError("this should have been refused")


async def _refused_saying(store: ConfigStore, document: Document, word: str) -> None:
    try:
        await store.put(document)
    except MeshError as error:
        said = str(error)
    else:
        raise AssertionError("this should have been refused")
    assert word in said, f"the error does not say {word!r}: {said}"
    assert await store.get(document.key) is None


CASES: tuple[Case, ...] = (
    case(i1_documents_are_kept),
    case(i2_creating_what_exists_is_refused),
    case(i3_stale_updates_are_refused),
    case(i4_deletes_may_be_conditional),
    case(i5_lists_by_kind_and_namespace),
    case(i6_no_gap_between_list_and_changes),
    case(i7_too_old_is_said),
    case(i8_no_update_is_lost),
    case(i9_unknown_fields_are_kept),
    case(i10_invalid_documents_are_refused),
    case(i11_too_large_documents_are_refused),
    case(i13_several_writes_are_one),
    case(i14_spelling_is_no_change),
    case(i15_every_change_is_told_once_and_in_order),
    case(i16_the_other_side_sees_it),
    case(i17_revisions_are_never_used_again),
    case(i18_history_is_remembered),
)
