"""What is checked of the callers of a workload: the policies that are for it, as HTTP and as bytes can be asked.

Which documents are for which workload is decided in `precedence`.
"""

import re
from collections.abc import Callable, Iterator

import msgspec
from msgspec.structs import replace

from core.compiler.inputs import Inputs
from core.compiler.precedence import access_rules_for
from core.incremental import derived
from core.ir.access import (
    AccessRule,
    Action,
    Clause,
    Header,
    Never,
    Operation,
    Port,
    ServerName,
    Source,
    Suffix,
    UrlPath,
    What,
    Who,
)
from core.ir.values import Exact, Prefix, Regex
from core.model.service import WorkloadKey
from core.model.workload import EntryPort
from core.view.access import Check, Policy

ORDER: tuple[Action, ...] = ("AUDIT", "DENY", "ALLOW")


class Access(msgspec.Struct, frozen=True):
    """What holds where HTTP is spoken, where bytes are passed on, and where gRPC looks after itself."""

    http: tuple[Check, ...] = ()
    bytes: tuple[Check, ...] = ()
    grpc: tuple[Check, ...] = ()


ANYBODY = Access()


@derived
def access(inputs: Inputs, key: WorkloadKey) -> Access:
    """For all ports of a workload. Dry runs come first, so that they are asked about every call."""
    rules, workload = access_rules_for(inputs, key), inputs.workloads.get(key)
    if not rules or workload is None:
        return ANYBODY
    rules = tuple(_at_doors(rule, workload.ports) for rule in rules) if workload.ports else rules
    grpc = (each for each in _checks(rules, _of_grpc) if not each.dry_run and each.action != "AUDIT")
    return Access(tuple(_checks(rules, _as_written)), tuple(_checks(rules, _of_bytes)), tuple(grpc))


Reading = Callable[[Action, Clause], Clause | None]
"""What a clause is where it is asked; None: it is left out."""


def _checks(rules: tuple[AccessRule, ...], reading: Reading) -> Iterator[Check]:
    for dry_run in (True, False):
        for action in ORDER:
            found = [rule for rule in rules if (rule.action, rule.dry_run) == (action, dry_run)]
            if found:
                policies = tuple(policy for rule in found for policy in _policies(rule, reading))
                yield Check(action=action, policies=policies, dry_run=dry_run)


def _policies(rule: AccessRule, reading: Reading) -> Iterator[Policy]:
    config = rule.origin.config
    for index, clause in enumerate(rule.clauses):
        if (read := reading(rule.action, clause)) is not None:
            name = f"ns[{config.namespace}]-policy[{config.name}]-rule[{index}]"
            yield Policy(name=name, clause=read, origin=rule.origin.at("rules").at(index))


def _at_doors(rule: AccessRule, doors: tuple[EntryPort, ...]) -> AccessRule:
    """What documents call a port of a gateway is open at another number, by which the proxy knows it."""
    known = {door.port: Port(door.target) for door in doors}

    def opened(what: What) -> What:
        return What(any_of=tuple(map(number, what.any_of)), none_of=tuple(map(number, what.none_of)))

    def number(operation: Operation) -> Operation:
        return known.get(operation.number, operation) if isinstance(operation, Port) else operation

    return replace(
        rule,
        clauses=tuple(
            replace(clause, operations=tuple(tuple(map(opened, every)) for every in clause.operations))
            for clause in rule.clauses
        ),
    )


def _as_written(action: Action, clause: Clause) -> Clause:
    return clause


def _of_bytes(action: Action, clause: Clause) -> Clause | None:
    """Where there are no requests, what asks for something of a request cannot be asked
    (Istio, "Implications of using HTTP fields on TCP ports").
    """
    return _without(action, clause, lambda each: isinstance(each, Header | UrlPath | Never))


def _of_grpc(action: Action, clause: Clause) -> Clause | None:
    """gRPC does not show its own headers and bytes to policies, nor the name in the TLS handshake (gRFC A41)."""
    read = _without(action, clause, _hidden)
    return read and replace(
        read, operations=tuple(tuple(_of_joined(action, what) for what in every) for every in read.operations)
    )


def _of_joined(action: Action, what: What) -> What:
    """gRPC joins the values of a repeated header by commas. Nobody gets in by sending one more."""
    if action == "ALLOW":
        return replace(what, none_of=tuple(map(_among_others, what.none_of)))
    return replace(what, any_of=tuple(map(_among_others, what.any_of)))


def _among_others(operation: Operation) -> Operation:
    match operation:
        case Header(name, Exact(value)) if name[0] != ":":
            return Header(name, Regex(f"(.*,)?{re.escape(value)}(,.*)?"))
        case Header(name, Prefix(value)) if name[0] != ":":
            return Header(name, Regex(f"(.*,)?{re.escape(value)}.*"))
        case Header(name, Suffix(value)) if name[0] != ":":
            return Header(name, Regex(f".*{re.escape(value)}(,.*)?"))
        case _:
            return operation


def _hidden(each: Source | Operation) -> bool:
    if isinstance(each, Header):
        return each.name.startswith("grpc-") or each.name.endswith("-bin") or each.name == "te"
    return isinstance(each, ServerName)


def _without(action: Action, clause: Clause, unknown: Callable[[Source | Operation], bool]) -> Clause | None:
    """The safe side: what cannot be asked allows nobody, and what denies does so for whatever the rest says."""
    sources = tuple(tuple(who for who in every if not _any(who, unknown)) for every in clause.sources)
    operations = tuple(tuple(what for what in every if not _any(what, unknown)) for every in clause.operations)
    read = Clause(sources=sources, operations=operations)
    return None if action == "ALLOW" and read != clause else read


def _any(test: Who | What, unknown: Callable[[Source | Operation], bool]) -> bool:
    return any(unknown(each) for each in (*test.any_of, *test.none_of))
