"""Which matches of one rule can never be taken, because an earlier one takes all their requests. Warnings only.

Linear in the number of matches: an earlier match is found by its conditions other than the path, then by the path.
It need not find every case; what it reports must be true.
"""

import msgspec

from core.ir.routing import ANY_REQUEST, ANY_SOURCE, HttpRoute, Match, RequestMatch, RouteRule, Source
from core.ir.values import Exact, Prefix, Regex, StringMatch
from core.kinds.findings import INEFFECTIVE, UNREACHABLE, Context
from core.model.config import Origin

_EVERY_PATH = (None, Prefix("/"), Regex(".*"))


class _Paths:
    """Where the paths of earlier matches, equal in everything else, were said."""

    def __init__(self) -> None:
        self.every: Origin | None = None
        self.equal: dict[StringMatch, Origin] = {}
        self.prefixes: dict[str, Origin] = {}
        self.lengths: set[int] = set()

    def add(self, path: StringMatch | None, at: Origin) -> None:
        if path is None or path in _EVERY_PATH:
            self.every = self.every or at
            return
        self.equal.setdefault(path, at)
        if isinstance(path, Prefix):
            self.prefixes.setdefault(path.value, at)
            self.lengths.add(len(path.value))

    def covering(self, path: StringMatch | None) -> Origin | None:
        if self.every or path is None:
            return self.every
        if isinstance(path, Regex):
            return self.equal.get(path)
        ends = (length for length in self.lengths if length <= len(path.value))
        by_prefix = (self.prefixes.get(path.value[:length]) for length in sorted(ends))
        return self.equal.get(path) or next((at for at in by_prefix if at), None)


_Conditions = tuple[Source, RequestMatch, bool]


class _Earlier:
    def __init__(self) -> None:
        self._paths: dict[_Conditions, _Paths] = {}

    def add(self, match: Match) -> None:
        request = match.request
        conditions = (match.source, _without_path(request), request.ignore_path_case)
        paths = self._paths.setdefault(conditions, _Paths())
        paths.add(_folded(request.path) if request.ignore_path_case else request.path, match.origin)

    def covering(self, match: Match) -> Origin | None:
        rest = _without_path(match.request)
        sources = {match.source} if match.source.gateways else {match.source, ANY_SOURCE}
        for source in sources:
            for conditions in {rest, ANY_REQUEST}:
                if found := self._by_path(match.request, source, conditions):
                    return found
        return None

    def _by_path(self, request: RequestMatch, source: Source, conditions: RequestMatch) -> Origin | None:
        folding = self._paths.get((source, conditions, True))
        exact = self._paths.get((source, conditions, False))
        if folding and (found := folding.covering(_folded(request.path))):
            return found
        if exact and (not request.ignore_path_case or exact.every):
            return exact.covering(request.path)
        return None


def check(context: Context, rule: RouteRule) -> None:
    """Warns of routes (IST0130) and single matches (IST0131) that come too late."""
    earlier = _Earlier()
    for route in rule.http:
        _check_route(context, route, earlier)


def _check_route(context: Context, route: HttpRoute, earlier: _Earlier) -> None:
    matches = route.matches or (Match(origin=route.origin),)
    covered: list[tuple[Match, Origin]] = []
    for match in matches:
        if found := earlier.covering(match):
            covered.append((match, found))
        else:
            earlier.add(match)
    if covered and len(covered) == len(matches):
        message = f"{_name(route)} is never taken: {covered[0][1].path} already takes its requests"
        context.warn(route.origin, message, fix="move it up, or take it out", code=UNREACHABLE)
        return
    for match, found in covered:
        message = f"this match has no effect: {found.path} already takes its requests"
        context.warn(match.origin, message, fix="move it up, or take it out", code=INEFFECTIVE)


def _without_path(request: RequestMatch) -> RequestMatch:
    return msgspec.structs.replace(request, path=None, ignore_path_case=False)


def _folded(path: StringMatch | None) -> StringMatch | None:
    match path:
        case Exact(value):
            return Exact(value.lower())
        case Prefix(value):
            return Prefix(value.lower())
    return path


def _name(route: HttpRoute) -> str:
    return f"the route {route.name!r}" if route.name else "this route"
