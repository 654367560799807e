"""Labels as a hashable value, and the equality selector of the Kubernetes API (`matchLabels`)."""

from collections.abc import Iterator, Mapping

import msgspec


class Labels(msgspec.Struct, frozen=True, array_like=True):
    """Sorted key/value pairs. Build with `Labels.of`; the constructor trusts that `pairs` is sorted."""

    pairs: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, mapping: Mapping[str, str]) -> "Labels":
        return cls(tuple(sorted(mapping.items())))

    def get(self, key: str, default: str = "") -> str:
        return next((value for name, value in self.pairs if name == key), default)

    def only(self, names: frozenset[str]) -> "Labels":
        """Those of these names."""
        return Labels(tuple(pair for pair in self.pairs if pair[0] in names))

    def select(self, selector: "Labels") -> bool:
        """Whether every pair of `selector` is among these labels; an empty selector selects everything."""
        return set(selector.pairs) <= set(self.pairs)

    def as_dict(self) -> dict[str, str]:
        return dict(self.pairs)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.pairs)

    def __bool__(self) -> bool:
        return bool(self.pairs)


NO_LABELS = Labels()
