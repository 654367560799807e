"""Regular expressions as Envoy takes them: RE2. The library is loaded only when a document has one."""

import re
from functools import lru_cache

from core.kinds.findings import Context
from core.model.config import Origin

LONGEST = 1024
"""Characters, as Istio limits them."""

LARGEST_PROGRAM = 32_768
"""Instructions of the compiled pattern; the proxies' bootstrap allows as many (`re2.max_program_size.error_level`)."""


@lru_cache(maxsize=4096)
def compile_re2(pattern: str) -> tuple[int, str]:
    """The number of groups and "", or 0 and what RE2 says against the pattern. Bytes, not characters, as in Envoy."""
    import re2

    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1
    try:
        program = re2.compile(pattern.encode(), options)
    except re2.error as error:
        return 0, _text(error)
    if program.programsize > LARGEST_PROGRAM:
        return program.groups, f"it compiles to {program.programsize} instructions, more than {LARGEST_PROGRAM}"
    return program.groups, ""


def _text(error: Exception) -> str:
    argument = error.args[0] if error.args else error
    return argument.decode(errors="replace") if isinstance(argument, bytes) else str(argument)


def regex(context: Context, pattern: str, at: Origin) -> int:
    """Reports a pattern that Envoy would refuse; gives the number of its groups."""
    if not pattern:
        context.error(at, "the regex must not be empty", fix='".*" matches everything')
        return 0
    if len(pattern) > LONGEST:
        context.error(at, f"the regex has {len(pattern)} characters; at most {LONGEST} are allowed")
        return 0
    groups, problem = compile_re2(pattern)
    if problem:
        fix = "see the syntax of RE2: no look-around and no back-references"
        context.error(at, f"the regex {pattern[:80]!r} is not valid RE2: {problem}", fix=fix)
    return groups


def matches_whole(pattern: str, text: str) -> bool:
    """For what is settled when compiling. The pattern is valid."""
    import re2

    return re2.fullmatch(pattern, text) is not None


_ESCAPE = re.compile(r"\\(.?)", re.DOTALL)


def substitution(context: Context, text: str, groups: int, at: Origin) -> None:
    r"""Reports a replacement that RE2 would refuse: `\0` to `\9` for groups that exist, `\\` for a backslash."""
    for found in _ESCAPE.finditer(text):
        what = found.group(1)
        if what.isascii() and what.isdigit():
            if int(what) > groups:
                context.error(at, f"the rewrite uses \\{what}, but the regex has {groups} groups")
        elif what != "\\":
            context.error(at, f"the rewrite has a backslash before {what!r}", fix="write \\\\ for a backslash")
