"""Who owns which field, after updates and applies."""

import time
from typing import Any

from core.manager.api.ownership import (
    APPLY,
    UPDATE,
    Entry,
    Manager,
    applied,
    conflicts,
    decode,
    encode,
    leaves,
    updated,
)

A = Manager("a", APPLY, "g/v1")
B = Manager("b", APPLY, "g/v1")
EDITOR = Manager("editor", UPDATE, "g/v1")


def thing(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "x"}, "spec": spec}


def owned(entries: tuple[Entry, ...]) -> dict[str, set[str]]:
    return {entry.manager.name: {".".join(path) for path in entry.fields} for entry in entries}


def test_lists_and_scalars_are_fields_and_maps_are_not() -> None:
    """Beside the spec, only what people set of the metadata can be owned."""
    found = leaves(
        {"metadata": {"name": "x", "labels": {"a.b/c": "d"}}, "spec": {"hosts": ["a"], "tls": {"mode": "X"}}}
    )
    assert set(found) == {("metadata", "labels", "a.b/c"), ("spec", "hosts"), ("spec", "tls", "mode")}


def test_entries_survive_the_wire() -> None:
    """Names of fields may hold anything."""
    entries = (Entry(manager=A, fields=frozenset({("spec", "a"), ("metadata", "labels", "f:x.y/z")}), time="t"),)
    assert decode(encode(entries)) == entries


def test_an_update_takes_what_it_changes() -> None:
    """And leaves the rest with those who had it; what is gone is nobody's."""
    before = thing(one=1, two=2, three=3)
    entries = (Entry(manager=A, fields=frozenset(leaves(before)), time="t"),)
    after = thing(one=1, two=9)
    assert owned(updated(entries, leaves(before), leaves(after), manager=EDITOR, now="n")) == {
        "a": {"spec.one"},
        "editor": {"spec.two"},
    }


def test_an_update_that_changes_nothing_changes_no_entry() -> None:
    """So that the same document twice is one revision."""
    entries = (Entry(manager=A, fields=frozenset({("spec", "one")}), time="t"),)
    same = leaves(thing(one=1))
    assert updated(entries, same, same, manager=EDITOR, now="n") is entries


def apply(live: dict[str, Any], entries: tuple[Entry, ...], wanted: dict[str, Any], manager: Manager) -> Any:
    result = applied(live, entries, wanted, manager=manager, now="n")
    return result.thing["spec"], owned(result.entries), result.entries


def test_applying_takes_back_what_is_left_out() -> None:
    """A field that was applied before and is not any more goes, with the maps that are empty then."""
    spec, _, entries = apply(thing(), (), thing(one=1, deep={"er": 2}), A)
    assert spec == {"one": 1, "deep": {"er": 2}}
    assert apply(thing(**spec), entries, thing(one=1), A)[:2] == ({"one": 1}, {"a": {"spec.one"}})


def test_what_others_own_too_stays() -> None:
    """Two who apply the same value both own it; it goes with the last of them."""
    spec, _, entries = apply(thing(), (), thing(one=1, two=2), A)
    spec, _, entries = apply(thing(**spec), entries, thing(one=1), B)
    spec, owners, entries = apply(thing(**spec), entries, thing(two=2), A)
    assert (spec, owners) == ({"one": 1, "two": 2}, {"b": {"spec.one"}, "a": {"spec.two"}})


def test_a_conflict_is_somebody_elses_field_with_another_value() -> None:
    """An equal value is none, and neither is a field of nobody."""
    spec, _, entries = apply(thing(), (), thing(one=1), A)
    live = thing(**spec, free=5)
    assert conflicts(live, entries, thing(one=1, free=6), manager=B) == ()
    (cause,) = conflicts(live, entries, thing(one=2), manager=B)
    assert (cause.reason, cause.field) == ("FieldManagerConflict", ".spec.one")
    assert '"a"' in cause.message


def test_replacing_a_map_by_a_value_is_a_conflict_with_what_was_in_it() -> None:
    """And the other way round."""
    spec, _, entries = apply(thing(), (), thing(one={"deep": 1}), A)
    assert [c.field for c in conflicts(thing(**spec), entries, thing(one=2), manager=B)] == [".spec.one.deep"]
    spec, owners, _ = apply(thing(**spec), entries, thing(one=2), B)
    assert (spec, owners) == ({"one": 2}, {"b": {"spec.one"}})


def test_an_empty_map_takes_nothing_from_those_who_filled_it() -> None:
    """It is there already."""
    spec, _, entries = apply(thing(), (), thing(one={"deep": 1}), A)
    assert conflicts(thing(**spec), entries, thing(one={}), manager=B) == ()
    assert apply(thing(**spec), entries, thing(one={}), B)[0] == {"one": {"deep": 1}}


def test_many_fields_are_compared_quickly() -> None:
    """Not every field with every other one."""
    many = thing(**{f"f{i}": i for i in range(20_000)})
    _, _, entries = apply(thing(), (), many, A)
    began = time.process_time()
    assert len(conflicts(many, entries, thing(**{f"f{i}": -1 for i in range(20_000)}), manager=B)) == 20_000
    assert time.process_time() - began < 5


def test_applying_the_same_again_changes_nothing() -> None:
    """Not even the time of the entry."""
    spec, _, entries = apply(thing(), (), thing(one=[1], two={}), A)
    again = applied(thing(**spec), entries, thing(one=[1], two={}), manager=A, now="later")
    assert (again.thing["spec"], again.entries) == (spec, entries)
