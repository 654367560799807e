"""Which known word somebody probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches


def closest(word: str, known: Iterable[str], *, likeness: float = 0.8) -> str:
    """The known word most like `word`, "" when none is. Case makes no difference; `likeness` is from 0 to 1."""
    folded = {one.lower(): one for one in known}
    found = get_close_matches(word[:200].lower(), folded, n=1, cutoff=likeness)
    return folded[found[0]] if found else ""
