"""Paths as Envoy makes them: normalised on arrival, rewritten on the way."""

import re
from typing import assert_never

import re2

from core.ir.values import Prefix, RegexRewrite, StringMatch, UriRewrite

_GROUP = re.compile(r"\\(\d|\\)")
_SEPARATORS = re.compile(r"[/\\]")
_ESCAPED = re.compile("%([0-9A-Fa-f]{2})")
_UNESCAPED = re.compile('["<>^`{|}]')


def normalised(target: str) -> str:
    """What `normalize_path` makes of it (Envoy, RFC 3986 §5.2.4 and §6.2.2); the query stays.

    Backslashes turn, characters that need no escaping lose theirs and those that need it get it, dot segments are
    resolved. Double slashes stay: nobody merges them.
    """
    path, mark, query = target.partition("?")
    plain = _ESCAPED.sub(_unescaped, _UNESCAPED.sub(lambda found: f"%{ord(found[0]):02X}", path))
    return "/" + "/".join(_resolved(_SEPARATORS.split(plain)[1:])) + mark + query


def _unescaped(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    unreserved = character.isascii() and (character.isalnum() or character in "-._~")
    return character if unreserved else found[0]


def _resolved(segments: list[str]) -> list[str]:
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            kept = kept[:-1]
        elif segment != ".":
            kept.append(segment)
    ends_in_dots = segments[-1] in (".", "..")
    return [*kept, ""] if ends_in_dots else kept


def rewritten(target: str, matched: StringMatch | None, rewrite: UriRewrite | RegexRewrite | None) -> str:
    """The path and query that the application gets."""
    match rewrite:
        case None:
            return target
        case RegexRewrite(pattern, substitution):
            plain, mark, query = target.partition("?")
            return _substituted(plain, pattern, substitution) + mark + query
        case UriRewrite(value):
            return replaced(target, matched, value)
        case _:
            assert_never(rewrite)


def _substituted(text: str, pattern: str, substitution: str) -> str:
    r"""Every match replaced; \0 to \9 in `substitution` are groups (RE2 `GlobalReplace`)."""

    def one(found: "re2._Match[str]") -> str:
        return _GROUP.sub(lambda group: "\\" if group[1] == "\\" else found.group(int(group[1])) or "", substitution)

    return str(re2.sub(pattern, one, text))


def replaced(target: str, matched: StringMatch | None, value: str) -> str:
    """A prefix match replaces the prefix, textually; an exact or regex match the whole path. The query stays."""
    plain, mark, query = target.partition("?")
    prefix = Prefix("/") if matched is None else matched
    rest = plain[len(prefix.value) :] if isinstance(prefix, Prefix) else ""
    return value + rest + mark + query
