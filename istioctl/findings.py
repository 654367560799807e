"""What the Manager finds wrong with an object, as a line. Which findings there are is none of its business."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.manager.api.objects import ValidationMessage


def finding_line(found: ValidationMessage) -> str:
    """`Error [IST0101] spec.http[0]: no such host; did you mean reviews?`"""
    return f"{without_fix(found)}; {found.fix}" if found.fix else without_fix(found)


def without_fix(found: ValidationMessage) -> str:
    place = f" {found.field}" if found.field else ""
    return f"{found.level.capitalize()} [{found.type.code}]{place}: {found.message}"
