"""AuthorizationPolicy (security.istio.io): spec, rules and lowering to an `AccessRule`.

What single values mean is in `calls`. Source of the rules: Istio `AuthorizationPolicy`, and what Istio's own validation
refuses.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar, Final, Literal, TypeVar

from msgspec.structs import replace

from core.diagnostics import Severity
from core.ir.access import AccessRule, Action, Clause, What, Who
from core.ir.lowered import Lowered
from core.kinds.findings import UNSUPPORTED, Context
from core.kinds.kind import Kind, Spec, json_name
from core.kinds.schema import read
from core.kinds.security import calls, selector
from core.kinds.security.selector import SelectorSpec
from core.kinds.spelling import closest
from core.model.config import Document, Origin
from core.model.labels import NO_LABELS
from core.model.mesh import Mesh

T = TypeVar("T")

DRY_RUN = "istio.io/dry-run"
"""Annotation: "true" for a policy that is evaluated and refuses nobody."""

LONGEST = 1024
"""Characters of a value."""

NOBODY: Final = Clause(sources=(), operations=())
"""Is for no call."""


class SourceSpec(Spec, frozen=True):
    principals: tuple[str, ...] = ()
    not_principals: tuple[str, ...] = ()
    request_principals: tuple[str, ...] = ()
    not_request_principals: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    not_namespaces: tuple[str, ...] = ()
    service_accounts: tuple[str, ...] = ()
    not_service_accounts: tuple[str, ...] = ()
    trust_domains: tuple[str, ...] = ()
    not_trust_domains: tuple[str, ...] = ()
    ip_blocks: tuple[str, ...] = ()
    not_ip_blocks: tuple[str, ...] = ()
    remote_ip_blocks: tuple[str, ...] = ()
    not_remote_ip_blocks: tuple[str, ...] = ()


class OperationSpec(Spec, frozen=True):
    hosts: tuple[str, ...] = ()
    not_hosts: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    not_ports: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    not_methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    not_paths: tuple[str, ...] = ()


class FromSpec(Spec, frozen=True):
    source: SourceSpec | None = None


class ToSpec(Spec, frozen=True):
    operation: OperationSpec | None = None


class ConditionSpec(Spec, frozen=True):
    key: str = ""
    values: tuple[str, ...] = ()
    not_values: tuple[str, ...] = ()


class RuleSpec(Spec, frozen=True):
    from_: tuple[FromSpec, ...] | None = None
    to: tuple[ToSpec, ...] | None = None
    when: tuple[ConditionSpec, ...] = ()


class ProviderSpec(Spec, frozen=True):
    name: str = ""


class AuthorizationPolicySpec(Spec, frozen=True):
    selector: SelectorSpec | None = None
    action: Literal["ALLOW", "DENY", "AUDIT", "CUSTOM"] = "ALLOW"
    provider: ProviderSpec | None = None
    rules: tuple[RuleSpec, ...] = ()

    # Without it the policy would be for all workloads of its namespace.
    later: ClassVar[Mapping[str, Severity]] = {"targetRef": Severity.ERROR, "targetRefs": Severity.ERROR}


_SOURCES: Final[dict[str, calls.ToSource]] = {
    "principals": calls.principal,
    "request_principals": calls.token,
    "namespaces": calls.namespace,
    "service_accounts": calls.service_account,
    "trust_domains": calls.trust_domain,
    "ip_blocks": calls.caller_address,
    "remote_ip_blocks": calls.first_address,
}
_OPERATIONS: Final[dict[str, calls.ToOperation]] = {
    "hosts": calls.host,
    "ports": calls.port,
    "methods": calls.method,
    "paths": calls.path,
}


def lower(document: Document, mesh: Mesh) -> Lowered:
    context = Context(document, mesh)
    spec = read(context, AuthorizationPolicySpec)
    rule = _rule(context, spec) if spec else None
    if rule is None or context.findings.failed:
        return Lowered((), context.findings.all(), instead=_closed(context, rule))
    return Lowered((rule,), context.findings.all())


def _closed(context: Context, rule: AccessRule | None) -> tuple[AccessRule, ...]:
    """Nobody gets in by a mistake in a document that a store took all the same: one that would allow allows nobody, one
    that would deny denies everybody. Not where it is for something that is not there.
    """
    places = {each.origin.path for each in context.findings.all() if each.origin is not None}
    if places & {context.root.at(name).path for name in AuthorizationPolicySpec.later}:
        return ()
    if rule is None:
        return (AccessRule(namespace=context.namespace, action="ALLOW", clauses=(NOBODY,), origin=context.root),)
    if rule.action == "AUDIT" or rule.dry_run:
        return ()
    # Labels that are wrong would select nobody.
    labels = NO_LABELS if context.findings.touch(context.root.at("selector")) else rule.labels
    return (replace(rule, labels=labels, clauses=(Clause() if rule.action == "DENY" else NOBODY,)),)


def _rule(context: Context, spec: AuthorizationPolicySpec) -> AccessRule:
    at = context.root
    labels = selector.labels(context, spec.selector, at.at("selector").at("matchLabels"))
    action = _action(context, spec)
    clauses = tuple(_clause(context, rule, at.at("rules").at(i)) for i, rule in enumerate(spec.rules))
    # An empty spec is how everybody says that nothing is allowed.
    if not clauses and spec != AuthorizationPolicySpec():
        _without_rules(context, action)
    return AccessRule(
        namespace=context.namespace,
        labels=labels,
        action=action,
        # Nobody is allowed, and whoever is refused is told by which document.
        clauses=clauses or (NOBODY,),
        dry_run=_dry_run(context, action),
        created=context.document.created,
        origin=at,
    )


def _action(context: Context, spec: AuthorizationPolicySpec) -> Action:
    at = context.root.at("action")
    if spec.action == "CUSTOM":
        message = "action CUSTOM is not supported: there are no providers that could be asked (extensionProviders)"
        context.error(at, message, fix="say it with ALLOW or DENY", code=UNSUPPORTED)
        return "DENY"
    if spec.provider is not None:
        fix = "take provider out"
        context.error(context.root.at("provider"), "a provider goes with action CUSTOM only", fix=fix)
    return spec.action


def _without_rules(context: Context, action: Action) -> None:
    at = context.root.at("rules")
    if action == "ALLOW":
        fix = "write rules: [{}] to allow everything"
        context.warn(at, "a policy that allows nothing denies all calls to its workloads", fix=fix)
    else:
        fix = "write rules: [{}] for all calls, or say which"
        context.error(at, f"a policy with action {action} and without rules would have no effect", fix=fix)


def _dry_run(context: Context, action: Action) -> bool:
    said = context.document.annotations.get(DRY_RUN, "false")
    at = Origin(context.document.key, f"metadata.annotations.{DRY_RUN}")
    if said.lower() not in ("true", "false"):
        context.error(at, f"{said[:80]!r} is neither true nor false", fix='write "true" or "false", in quotes')
    elif said.lower() == "true" and action == "AUDIT":
        context.error(at, "there are dry runs of ALLOW and DENY only", fix="take the annotation out")
    return said.lower() == "true"


# -- one rule ----------------------------------------------------------------------------------------------------------


def _clause(context: Context, spec: RuleSpec, at: Origin) -> Clause:
    """Conditions hold beside every alternative."""
    who, what = _conditions(context, spec.when, at.at("when"))
    sources = tuple(_source(context, each, at.at("from").at(i)) for i, each in enumerate(spec.from_ or ()))
    operations = tuple(_operation(context, each, at.at("to").at(i)) for i, each in enumerate(spec.to or ()))
    for name, given in (("from", spec.from_), ("to", spec.to)):
        if given == ():
            context.error(at.at(name), f"{name} must not be empty", fix=f"leave {name} out where it does not matter")
    return Clause(
        sources=tuple((*each, *who) for each in sources or ((),)),
        operations=tuple((*each, *what) for each in operations or ((),)),
    )


def _source(context: Context, spec: FromSpec, at: Origin) -> tuple[Who, ...]:
    source, at = spec.source or SourceSpec(), at.at("source")
    if source == SourceSpec():
        context.error(at, "source must say something", fix="for example source: {namespaces: [shop]}")
    if (source.service_accounts or source.not_service_accounts) and (
        source.principals or source.not_principals or source.namespaces or source.not_namespaces
    ):
        message = "serviceAccounts do not go with principals or namespaces"
        context.error(at.at("serviceAccounts"), message, fix="write namespace/name for a service account elsewhere")
    found = (
        Who(any_of=_each(context, any_of, make, at=place), none_of=_each(context, none_of, make, at=without))
        for make, (any_of, place), (none_of, without) in _fields(source, _SOURCES, at)
    )
    return tuple(each for each in found if each != Who())


def _operation(context: Context, spec: ToSpec, at: Origin) -> tuple[What, ...]:
    operation, at = spec.operation or OperationSpec(), at.at("operation")
    if operation == OperationSpec():
        context.error(at, "operation must say something", fix="for example operation: {methods: [GET]}")
    found = (
        What(any_of=_each(context, any_of, make, at=place), none_of=_each(context, none_of, make, at=without))
        for make, (any_of, place), (none_of, without) in _fields(operation, _OPERATIONS, at)
    )
    return tuple(each for each in found if each != What())


Values = tuple[tuple[str, ...], Origin]


def _fields(spec: Spec, known: Mapping[str, T], at: Origin) -> Iterator[tuple[T, Values, Values]]:
    """For each kind of value how it is read, those of which one must hold, and those of which none may."""
    for name, make in known.items():
        without = f"not_{name}"
        yield (
            make,
            (getattr(spec, name), at.at(json_name(name))),
            (getattr(spec, without), at.at(json_name(without))),
        )


def _each(
    context: Context, values: tuple[str, ...], make: Callable[[Context, str, Origin], T], *, at: Origin
) -> tuple[T, ...]:
    found = []
    for i, value in enumerate(values):
        if not value:
            context.error(at.at(i), "a value must not be empty", fix="take it out")
        elif len(value) > LONGEST:
            context.error(at.at(i), f"a value has at most {LONGEST} characters, not {len(value)}")
        else:
            found.append(make(context, value, at.at(i)))
    return tuple(dict.fromkeys(found))


# -- conditions --------------------------------------------------------------------------------------------------------


def _conditions(
    context: Context, specs: tuple[ConditionSpec, ...], at: Origin
) -> tuple[tuple[Who, ...], tuple[What, ...]]:
    who: list[Who] = []
    what: list[What] = []
    for i, spec in enumerate(specs):
        place = at.at(i)
        if not spec.values and not spec.not_values:
            context.error(place, "a condition needs values or notValues", fix="write at least one")
        elif (source := calls.source_of(spec.key)) is not None:
            any_of, none_of = _both(context, spec, source, at=place)
            who.append(Who(any_of=any_of, none_of=none_of))
        elif (operation := calls.operation_of(spec.key)) is not None:
            asked, unwanted = _both(context, spec, operation, at=place)
            what.append(What(any_of=asked, none_of=unwanted))
        else:
            _unknown(context, spec.key, place.at("key"))
    return tuple(who), tuple(what)


def _both(
    context: Context, spec: ConditionSpec, make: Callable[[Context, str, Origin], T], *, at: Origin
) -> tuple[tuple[T, ...], tuple[T, ...]]:
    any_of = _each(context, spec.values, make, at=at.at("values"))
    return any_of, _each(context, spec.not_values, make, at=at.at("notValues"))


def _unknown(context: Context, key: str, at: Origin) -> None:
    if key.startswith("experimental.envoy.filters."):
        message = "conditions on what filters found out are not supported"
        context.error(at, message, fix="take the condition out", code=UNSUPPORTED)
        return
    known = (*calls.SOURCES, *calls.OPERATIONS, "request.headers[<name>]", "request.auth.claims[<name>]")
    meant = closest(key, known, likeness=0.6)
    fix = f"did you mean {meant}?" if meant else f"known keys: {', '.join(known)}"
    context.error(at, f"{key[:80]!r} is not the key of a condition" if key else "a condition needs a key", fix=fix)


KIND = Kind(
    group="security.istio.io",
    kind="AuthorizationPolicy",
    plural="authorizationpolicies",
    short_names=("ap",),
    versions=("v1", "v1beta1"),
    spec=AuthorizationPolicySpec,
    lower=lower,
)
