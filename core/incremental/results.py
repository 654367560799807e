"""What a computation comes to: a value, an error kept as a value, or a cycle named by its calls."""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple, final


class Absent(Enum):
    """The type of ABSENT, the old value of a root that had none."""

    ABSENT = "ABSENT"


ABSENT: Final = Absent.ABSENT


@final
class Failed:
    """The result of a computation that raised; two are equal when their errors have the same type and args."""

    __slots__ = ("error",)
    __match_args__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Failed):
            return NotImplemented
        return type(self.error) is type(other.error) and self.error.args == other.error.args

    def __hash__(self) -> int:
        return hash(type(self.error))

    def __repr__(self) -> str:
        return f"Failed({self.error!r})"


class Call(NamedTuple):
    """One call of a derived function, as Cycle names it: the function's qualified name and its arguments."""

    function: str
    args: tuple[object, ...]

    def __str__(self) -> str:
        return f"{self.function}({', '.join(map(repr, self.args))})"


class Cycle(Exception):
    """The result of every call that needs its own result, even if it catches this; `calls` are all of them, sorted."""

    @property
    def calls(self) -> tuple[Call, ...]:
        return self.args

    def __str__(self) -> str:
        return "these calls need each other: " + ", ".join(map(str, self.args))


def without_frames(error: Exception) -> Exception:
    """A stored error must not keep frames and all their locals alive: a note says where it was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is not None and not hasattr(error, "__notes__"):
        error.add_note(f"raised at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}")
    link: BaseException | None = error
    while link is not None and link.__traceback__ is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
