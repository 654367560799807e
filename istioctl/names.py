"""Kinds as people name them on the command line: plural, singular or short, in any case, several with commas."""

from core.errors import Misconfigured
from core.kinds.kind import Kind
from core.kinds.registry import KINDS, named

EVERYTHING = "all"


def find_kinds(text: str) -> tuple[Kind, ...]:
    """Kinds in the order named; `all` is every kind. Raises `Misconfigured` for a name that is none."""
    if text.lower() == EVERYTHING:
        return KINDS
    return tuple(find_kind(name) for name in text.split(","))


def find_kind(text: str) -> Kind:
    """Raises `Misconfigured`, with the kind that was probably meant."""
    if kind := named(text):
        return kind
    raise Misconfigured(f'there is no kind "{text}"', fix=_nearest(text.lower()))


def qualified(kind: Kind, name: str) -> str:
    """`virtualservice.networking.istio.io/reviews`: what scripts take as the name of one object."""
    return f"{kind.kind.lower()}.{kind.group}/{name}"


def _nearest(text: str) -> str:
    from difflib import get_close_matches

    known = [name for kind in KINDS for name in (kind.plural, kind.kind.lower(), *kind.short_names)]
    if near := get_close_matches(text, known, n=1):
        return f'did you mean "{near[0]}"?'
    return "use one of " + ", ".join("/".join((kind.plural, *kind.short_names)) for kind in KINDS)
