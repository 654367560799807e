"""Policies as Envoy's and gRPC's role based access control says them: permissions and principals.

The filters that ask them are in `filters.rbac` and `filters.network_rbac`.
"""

from collections.abc import Iterable
from typing import assert_never

from envoy.config.core.v3 import address_pb2
from envoy.config.rbac.v3 import rbac_pb2
from envoy.config.route.v3 import route_components_pb2 as route_pb2
from envoy.type.matcher.v3 import path_pb2, string_pb2

from core.envoy import matchers
from core.envoy.any import number
from core.ir.access import (
    Action,
    Address,
    Destination,
    Header,
    Identity,
    Never,
    Operation,
    Port,
    ServerName,
    Source,
    Suffix,
    TextMatch,
    UrlPath,
    What,
    Who,
)
from core.ir.values import Present
from core.view.access import Check, Policy

_Permission = rbac_pb2.Permission
_Principal = rbac_pb2.Principal
_Rules = rbac_pb2.RBAC

_ACTIONS: dict[Action, "rbac_pb2.RBAC.Action"] = {"AUDIT": _Rules.LOG, "DENY": _Rules.DENY, "ALLOW": _Rules.ALLOW}
_ANYTHING = _Permission(any=True)
_ANYBODY = _Principal(any=True)


def rules(check: Check) -> rbac_pb2.RBAC:
    return _Rules(action=_ACTIONS[check.action], policies={each.name: _policy(each) for each in check.policies})


def _policy(policy: Policy) -> rbac_pb2.Policy:
    """Envoy wants one permission and one principal at least; where there are none nothing holds."""
    clause = policy.clause
    permissions = [_all_permissions(each) for each in clause.operations]
    principals = [_all_principals(each) for each in clause.sources]
    return rbac_pb2.Policy(
        permissions=permissions or [_Permission(not_rule=_ANYTHING)],
        principals=principals or [_Principal(not_id=_ANYBODY)],
    )


# -- what is done ------------------------------------------------------------------------------------------------------


def _all_permissions(tests: tuple[What, ...]) -> rbac_pb2.Permission:
    found = [one for each in tests for one in _permissions(each)]
    return _Permission(and_rules=_Permission.Set(rules=found or [_ANYTHING]))


def _permissions(test: What) -> Iterable[rbac_pb2.Permission]:
    if test.any_of:
        yield _any_permission(test.any_of)
    if test.none_of:
        yield _Permission(not_rule=_any_permission(test.none_of))


def _any_permission(alternatives: tuple[Operation, ...]) -> rbac_pb2.Permission:
    return _Permission(or_rules=_Permission.Set(rules=[_permission(each) for each in alternatives]))


def _permission(operation: Operation) -> rbac_pb2.Permission:
    match operation:
        case Destination(network):
            return _Permission(destination_ip=_range(network))
        case Port(value):
            return _Permission(destination_port=value)
        case ServerName(match):
            return _Permission(requested_server_name=_text(match))
        case Header(name, match):
            return _Permission(header=_header(name, match))
        case UrlPath(match):
            return _Permission(url_path=path_pb2.PathMatcher(path=_text(match)))
        case _:
            assert_never(operation)


# -- who does it -------------------------------------------------------------------------------------------------------


def _all_principals(tests: tuple[Who, ...]) -> rbac_pb2.Principal:
    found = [one for each in tests for one in _principals(each)]
    return _Principal(and_ids=_Principal.Set(ids=found or [_ANYBODY]))


def _principals(test: Who) -> Iterable[rbac_pb2.Principal]:
    if test.any_of:
        yield _any_principal(test.any_of)
    if test.none_of:
        yield _Principal(not_id=_any_principal(test.none_of))


def _any_principal(alternatives: tuple[Source, ...]) -> rbac_pb2.Principal:
    return _Principal(or_ids=_Principal.Set(ids=[_principal(each) for each in alternatives]))


def _principal(source: Source) -> rbac_pb2.Principal:
    match source:
        case Identity(match):
            return _Principal(authenticated=_Principal.Authenticated(principal_name=_text(match)))
        case Address(network, "connection"):
            return _Principal(direct_remote_ip=_range(network))
        case Address(network):
            return _Principal(remote_ip=_range(network))
        case Never():
            return _Principal(not_id=_ANYBODY)
        case _:
            assert_never(source)


# -- values ------------------------------------------------------------------------------------------------------------


def _text(match: TextMatch) -> string_pb2.StringMatcher:
    if isinstance(match, Suffix):
        return string_pb2.StringMatcher(suffix=match.value)
    return matchers.string(match)


def _header(name: str, match: TextMatch | Present) -> route_pb2.HeaderMatcher:
    if isinstance(match, Present):
        return route_pb2.HeaderMatcher(name=name, present_match=True)
    return route_pb2.HeaderMatcher(name=name, string_match=_text(match))


def _range(network: str) -> address_pb2.CidrRange:
    address, _, length = network.partition("/")
    return address_pb2.CidrRange(address_prefix=address, prefix_len=number(int(length)))
