"""Strangers: a few are let wait, and the eldest makes room."""

from core.manager.entrance import Strangers


def test_the_eldest_makes_room() -> None:
    """Who is known by then, or entered twice, does not count."""
    gone: list[str] = []
    strangers = Strangers(2)
    for name in ("a", "b", "a", "b"):
        strangers.enter(name, lambda name=name: gone.append(name))  # type: ignore[misc]
    strangers.leave("a")
    strangers.leave("nobody")
    strangers.enter("c", lambda: gone.append("c"))
    assert (gone, len(strangers)) == ([], 2)
    strangers.enter("d", lambda: gone.append("d"))
    assert (gone, len(strangers)) == (["b"], 2)
    strangers.send_eldest()
    assert gone == ["b", "c"]
    for _ in range(3):
        strangers.send_eldest()
    assert (gone, len(strangers)) == (["b", "c", "d"], 0)
