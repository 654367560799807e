"""Documents for the cases about config stores, and how one follows what becomes of them. No case is here."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final, TypeVar

import msgspec

from core.model.config import ConfigKey, Document
from core.model.labels import Labels
from platforms.conformance.case import Subject

GROUP: Final = "networking.istio.io"

T = TypeVar("T")


def a_key(name: str = "reviews") -> ConfigKey:
    return ConfigKey(GROUP, "VirtualService", "default", name)


def a_spec(seconds: int) -> bytes:
    """A spec that every store takes; by `seconds` two of them differ."""
    return b'{"hosts":["reviews"],"http":[{"route":[{"destination":{"host":"reviews"}}],"timeout":"%ds"}]}' % seconds


def a_document(key: ConfigKey | None = None, *, seconds: int = 1, note: str = "") -> Document:
    annotations = Labels.of({"note": note} if note else {})
    return Document(key=key or a_key(), version="v1", spec=a_spec(seconds), annotations=annotations)


def with_seconds(document: Document, *, seconds: int) -> Document:
    return msgspec.structs.replace(document, spec=a_spec(seconds))


async def the_next(changes: AsyncIterator[T], count: int, subject: Subject) -> list[T]:
    async with asyncio.timeout(subject.budgets.event):
        return [await anext(changes) for _ in range(count)]
