"""Reads what `-f` names: files, directories, standard input. Texts only; what they mean is decided elsewhere."""

import sys
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from core.errors import Misconfigured

SUFFIXES = (".yaml", ".yml", ".json")
STDIN = Path("-")
FLAT = "*"
DEEP = "**/*"


class Source(NamedTuple):
    """A text and the name that people know it by."""

    name: str
    text: str


def read_sources(paths: Iterable[Path], *, pattern: str = FLAT) -> tuple[Source, ...]:
    """In the order given, directories sorted by name (`pattern` DEEP: with what is below them).

    Raises `Misconfigured` when a file cannot be read or a directory holds nothing to read.
    """
    return tuple(source for path in paths for source in _read(path, pattern))


def _read(path: Path, pattern: str) -> Iterator[Source]:
    if path == STDIN:
        yield Source("<stdin>", _text(sys.stdin.buffer.read()))
        return
    for file in _files(path, pattern):
        try:
            yield Source(str(file), _text(file.read_bytes()))
        except OSError as error:
            raise Misconfigured(f"cannot read {file}: {error.strerror}") from error


def _text(content: bytes) -> str:
    """Bytes that are no UTF-8 become lone surrogates: whoever reads the text reports them with line and column.

    YAML may be UTF-16 with a mark at its beginning (YAML 1.2 §5.2); some editors and shells of Windows write that.
    """
    if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return content.decode("utf-16", "replace")
    return content.decode("utf-8-sig", "surrogateescape")


def _files(path: Path, pattern: str) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.glob(pattern) if file.suffix in SUFFIXES and file.is_file())
    if not found:
        raise Misconfigured(f"there is no {', '.join(SUFFIXES)} file in {path}", fix="name a file, or add -R")
    return found
