"""The journal under every config store: each value once and in order, to readers who remember a number."""

import asyncio

from core.aio.journal import Journal


def test_what_followed_a_number() -> None:
    """From any number that is remembered one goes on without a gap; from others not."""
    journal: Journal[str] = Journal(last=5)
    journal.append("6", "7")
    journal.append("8")
    assert journal.after(5) == ("6", "7", "8")
    assert journal.after(7) == ("8",)
    assert journal.after(8) == ()
    assert journal.after(4) is None
    assert journal.after(9) is None


def test_only_the_newest_are_kept() -> None:
    """What is forgotten cannot be gone on from; numbers go on."""
    journal: Journal[int] = Journal()
    journal.append(*range(1, 11))
    journal.keep(4)
    assert (journal.last, journal.after(5), journal.after(6)) == (10, None, (7, 8, 9, 10))
    journal.forget_to(8)
    assert (journal.after(7), journal.after(8)) == (None, (9, 10))
    journal.forget_to(10)
    assert (journal.after(9), journal.after(10)) == (None, ())
    journal.restart(20)
    journal.append(21)
    assert journal.after(20) == (21,)


async def test_readers_wait_for_what_is_to_come() -> None:
    """A reader wakes for what follows its number, and for the end."""
    journal: Journal[int] = Journal()
    waiting = [asyncio.create_task(journal.beyond(number)) for number in (0, 0, 1)]
    await asyncio.sleep(0)
    journal.append(1)
    async with asyncio.timeout(1):
        assert await asyncio.gather(*waiting[:2]) == [True, True]
    assert not waiting[2].done()
    journal.close()
    async with asyncio.timeout(1):
        assert await waiting[2] is False
        assert await journal.beyond(0) is False


def test_numbers_may_have_gaps() -> None:
    """Who goes on from a number without a value gets what follows it; forgetting goes by numbers."""
    journal: Journal[str] = Journal(last=5)
    journal.insert(6, "6")
    journal.insert(9, "9")
    journal.append("10")
    assert [journal.after(number) for number in (5, 6, 7, 8, 9)] == [
        ("6", "9", "10"), ("9", "10"), ("9", "10"), ("9", "10"), ("10",)]  # fmt: skip
    journal.forget_to(7)
    assert (journal.after(5), journal.after(6)) == (None, ("9", "10"))
    journal.keep(1)
    assert (journal.last, journal.after(8), journal.after(9)) == (10, None, ("10",))
