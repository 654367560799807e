"""What the user said: a service, and the percentage of its calls that each subset gets."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from core.errors import Misconfigured
from core.model.mesh import Mesh
from istioctl.options import DEFAULT_NAMESPACE

Weights = Mapping[str, int]

WHOLE: Final = 100
MESH: Final = Mesh()
"""The settings by which names are resolved: the defaults, because offline nobody knows others."""


class Target(NamedTuple):
    """A service of the mesh."""

    name: str
    namespace: str

    @property
    def host(self) -> str:
        return f"{self.name}.{self.namespace}.svc.{MESH.domain_suffix}"


def parse_target(text: str, namespace: str | None) -> Target:
    """`reviews`, `reviews.shop`, or the full host. Raises `Misconfigured`; so when `namespace` is another one."""
    name, _, rest = text.lower().partition(".")
    home, _, suffix = rest.partition(".")
    if not name or suffix not in ("", "svc", f"svc.{MESH.domain_suffix}"):
        fix = "write its name, or name.namespace; for other hosts write a rule and apply it"
        raise Misconfigured(f'"{text}" is no service of the mesh', fix=fix)
    if home and namespace not in (None, home):
        raise Misconfigured(f"{text} is in namespace {home}, and the command line says {namespace}", fix="keep one")
    return Target(name, home or namespace or DEFAULT_NAMESPACE)


def parse_weights(words: Iterable[str]) -> dict[str, int]:
    """Subset to percentage, in the order given. Raises `Misconfigured` unless the numbers add up to 100."""
    weights: dict[str, int] = {}
    for word in words:
        subset, _, number = word.partition("=")
        if not subset or not (number.isascii() and number.isdecimal()):
            raise Misconfigured(f'"{word}" is no share', fix="write subset=percentage, for example v1=90 v2=10")
        if subset in weights:
            raise Misconfigured(f"{subset} is given twice", fix="give each subset one share")
        weights[subset] = int(number)
    if (total := sum(weights.values())) != WHOLE:
        raise Misconfigured(f"the shares add up to {total}", fix=f"they have to add up to {WHOLE}")
    return weights
