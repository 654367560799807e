"""From changes to pushes: keeps compiled what connected proxies need, and hands every settled generation to them.

Synchronous and without I/O; who calls `settle`, and when, is the Manager's business.
"""

import logging
from collections.abc import Callable, Hashable, Iterator

from core.compiler.findings import findings
from core.compiler.scope import Scope, scope_of
from core.diagnostics import Diagnostic, Severity
from core.errors import NotFound
from core.incremental import ABSENT, Failed, Root
from core.manager.resources import Resources
from core.manager.scopes import Assembly, ScopeAssembly, WorkloadAssembly
from core.manager.world import World
from core.manager.xds.group import Group, settle
from core.manager.xds.resource import ResourceType
from core.model.change import Change, ConfigGone, ConfigPut, ServiceGone, ServicePut, WorkloadGone, WorkloadPut
from core.model.config import ConfigKey, Origin
from core.model.service import ServiceKey, WorkloadKey
from core.model.workload import Workload

OnFindings = Callable[[ConfigKey, tuple[Diagnostic, ...]], None]
_log = logging.getLogger(__name__)

BROKEN = "MSH3002"
"""Stable code: a document brought out a bug of the Manager's."""

Delta = tuple[Assembly, ResourceType, object, object]
"""Where a result belongs, what it was, and what it is."""

OnRegroup = Callable[[WorkloadKey], None]


class Pusher:
    """Owns the groups. `generation` counts the settled states of the world that differed for some group."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._scopes: dict[Scope, ScopeAssembly] = {}
        self._workloads: dict[WorkloadKey, WorkloadAssembly] = {}
        self._homes: dict[Root[object], tuple[Assembly, ResourceType]] = {}
        self._checks: dict[ConfigKey, Root[tuple[Diagnostic, ...]]] = {}
        self._checked: dict[Root[object], ConfigKey] = {}
        self._on_findings: OnFindings = lambda key, diagnostics: None
        self._on_regroup: OnRegroup = lambda key: None
        self._fresh: set[ConfigKey] = set()
        self._broken: dict[ConfigKey, Diagnostic] = {}
        self._withdrawn: list[Delta] = []
        self._declared: dict[ConfigKey, tuple[ServiceKey, ...]] = {}
        self._pending: dict[Root[object], tuple[object, object]] = {}
        self._ports: set[int] = set()
        self._open_ports: set[int] = set()
        self._labels: frozenset[str] = frozenset()
        self._near_labels: frozenset[str] | None = None
        self._moved: dict[WorkloadKey, None] = {}
        self.generation = 0

    def on_findings(self, tell: OnFindings) -> None:
        """Have `tell` called with a document's findings whenever they may have changed."""
        self._on_findings = tell

    def on_regroup(self, tell: OnRegroup) -> None:
        """Have `tell` called when a workload's proxy has to follow other groups than before."""
        self._on_regroup = tell

    # -- proxies -------------------------------------------------------------------------------------------------------

    def workload(self, key: WorkloadKey) -> Workload | None:
        """As it is registered."""
        return self._world.inputs.workloads.get(key)

    def groups(self, key: WorkloadKey) -> tuple[Group, Group]:
        """The groups of a workload's proxy, compiled by the next `settle`. Raises `NotFound`."""
        workload = self._world.inputs.workloads.get(key)
        if workload is None:
            raise NotFound(
                f"no workload {key} is registered", fix="start the proxy after its workload is in the registry"
            )
        scope = self._scope_of(workload)
        own = self._workloads.get(key)
        if own is None or own.scope != scope:
            self._forget(key)
            own = self._workloads[key] = WorkloadAssembly(self._world.inputs, key, scope=scope)
            self._fill(own, ports=())
        if scope not in self._scopes:
            self._scopes[scope] = ScopeAssembly(self._world.inputs, scope)
            self._fill(self._scopes[scope], ports=tuple(self._ports_of(scope)))
        return self._scopes[scope].group, own.group

    def served(self, key: WorkloadKey) -> tuple[Group, Group]:
        """The same of a workload whose proxy has been here, and nothing is compiled for it. Raises `NotFound`."""
        own = self._workloads.get(key)
        if own is None:
            raise NotFound(f"no proxy of {key} has asked for anything here", fix="see: istioctl proxy-status")
        return self._scopes[own.scope].group, own.group

    def _fill(self, assembly: Assembly, *, ports: tuple[int, ...]) -> None:
        for part in (None, *self._world.inputs.services.keys(), *ports):
            self._keep(assembly, part)

    def _forget(self, key: WorkloadKey) -> None:
        own = self._workloads.pop(key, None)
        if own is None:
            return
        self._drop(own)
        if all(other.scope != own.scope for other in self._workloads.values()):
            self._drop(self._scopes.pop(own.scope))

    def _drop(self, assembly: Assembly) -> None:
        for part in assembly.parts():
            self._release(assembly, part)

    # -- changes -------------------------------------------------------------------------------------------------------

    def apply(self, change: Change) -> None:
        """Applies one change to the world, and keeps or releases what it adds or takes away."""
        self._world.apply(change)
        match change:
            case ServicePut(service):
                self._each(self._keep, service.key)
                self._follow_ports()
            case ServiceGone(key):
                self._each(self._release, key)
                self._follow_ports()
            case ConfigPut(document):
                self._fresh.add(document.key)
                self._broken.pop(document.key, None)
                self._check(document.key)
                self._follow_rules(document.key)
            case ConfigGone(key):
                self._fresh.discard(key)
                self._broken.pop(key, None)
                self._uncheck(key)
                self._follow_rules(key)
            case WorkloadPut(workload):
                self._regroup(workload.key)
            case WorkloadGone(key):
                self._forget(key)

    def revert(self, key: ConfigKey) -> None:
        """Takes out of force what a document says and was not proved good."""
        self._world.revert(key)
        self._follow_rules(key)

    def restore(self, key: ConfigKey) -> None:
        """Takes a reverted document into force again."""
        self._fresh.add(key)
        self._world.restore(key)
        self._follow_rules(key)

    def _follow_rules(self, key: ConfigKey) -> None:
        self._follow_declared(key)
        self._follow_ports()
        self._follow_labels()

    def _follow_declared(self, key: ConfigKey) -> None:
        """Services that a document declares come and go with it, as those of platforms do with their changes."""
        old, new = self._declared.pop(key, ()), self._world.declares(key)
        if new:
            self._declared[key] = new
        for service in new:
            self._each(self._keep, service)
        for service in set(old) - set(new):
            self._each(self._release, service)

    def _each(self, act: Callable[[Assembly, Hashable], None], part: Hashable) -> None:
        for assembly in (*self._scopes.values(), *self._workloads.values()):
            act(assembly, part)

    def _follow_ports(self) -> None:
        ports, open_ports = set(self._world.http_ports), set(self._world.open_ports)
        if (ports, open_ports) == (self._ports, self._open_ports):
            return
        before = {assembly: self._ports_of(scope) for scope, assembly in self._scopes.items()}
        self._ports, self._open_ports = ports, open_ports
        for assembly, old in before.items():
            new = self._ports_of(assembly.scope)
            for port in new - old:
                self._keep(assembly, port)
            for port in old - new:
                self._release(assembly, port)

    def _ports_of(self, scope: Scope) -> set[int]:
        """The ports with a route configuration of their own: those of HTTP, and where it may have to be told apart."""
        return self._ports | self._open_ports if scope.capture == "redirect" else self._ports

    def _follow_labels(self) -> None:
        """Where rules ask something else of callers, proxies whose scope changes come back for their new groups."""
        labels, near_labels = frozenset(self._world.label_names), self._world.near_labels
        if (labels, near_labels) == (self._labels, self._near_labels):
            return
        self._labels, self._near_labels = labels, near_labels
        for key in tuple(self._workloads):
            self._regroup(key)

    def _regroup(self, key: WorkloadKey) -> None:
        """Not before the next settle: until then its new groups are empty, and its proxy would lose all it has."""
        self._moved[key] = None

    def _follow_moved(self) -> None:
        """Also for a workload that went and came back between two settles: a proxy may still follow its old groups."""
        moved, self._moved = self._moved, {}
        for key in moved:
            own, workload = self._workloads.get(key), self._world.inputs.workloads.get(key)
            if workload is not None and (own is None or self._scope_of(workload) != own.scope):
                self._on_regroup(key)

    def _scope_of(self, workload: Workload) -> Scope:
        return scope_of(workload, self._labels, self._near_labels)

    # -- roots ---------------------------------------------------------------------------------------------------------

    def _keep(self, assembly: Assembly, part: Hashable) -> None:
        for root, type_ in assembly.keep(part).items():
            self._homes[root] = assembly, type_

    def _release(self, assembly: Assembly, part: Hashable) -> None:
        for root in assembly.release(part):
            _, type_ = self._homes.pop(root)
            # A root that goes while the world is recomputed may have failed; the log has what was before.
            pending = self._pending.pop(root, None)
            old = pending[0] if pending is not None else _settled(root)
            self._withdrawn.append((assembly, type_, old, ABSENT))
            root.release()

    def _check(self, key: ConfigKey) -> None:
        if key not in self._checks:
            root = self._world.inputs.graph.keep(findings, self._world.inputs, key)
            self._checks[key], self._checked[root] = root, key
        self._publish(key)

    def _uncheck(self, key: ConfigKey) -> None:
        root = self._checks.pop(key, None)
        if root is not None:
            del self._checked[root]
            root.release()

    def diagnostics(self, key: ConfigKey) -> tuple[Diagnostic, ...]:
        """All findings about a document: of itself, and beside the others."""
        root = self._checks.get(key)
        between = _settled(root) if root is not None else ABSENT
        broken = (self._broken[key],) if key in self._broken else ()
        return (*self._world.diagnostics.get(key, ()), *(between if isinstance(between, tuple) else ()), *broken)

    def _publish(self, key: ConfigKey) -> None:
        self._on_findings(key, self.diagnostics(key))

    # -- settling ------------------------------------------------------------------------------------------------------

    def settle(self) -> bool:
        """Recomputes what the applied changes reach and wakes the proxies concerned. Whether any group changed."""
        self._follow_moved()
        results = self._recompute()
        deltas, self._withdrawn = self._withdrawn, []
        for root, (old, new) in results.items():
            home = self._homes.get(root)
            if home is not None:
                deltas.append((*home, old, new))
            elif (key := self._checked.get(root)) is not None:
                self._publish(key)
        return self._deliver(deltas)

    def _recompute(self) -> dict[Root[object], tuple[object, object]]:
        """The old and new results of the roots that changed, none of them a failure.

        Where a document brings out a bug of ours, it is taken out of force and the others work on.
        """
        results = self._pending = {}
        while True:
            for change in self._world.inputs.graph.settle():
                old = results[change.root][0] if change.root in results else change.old
                results[change.root] = old, change.new
            failed = next((new.error for _, new in results.values() if isinstance(new, Failed)), None)
            if failed is None:
                self._fresh.clear()
                self._pending = {}
                return results
            self._give_up(failed)

    def _give_up(self, error: Exception) -> None:
        """Takes the documents that changed last out of force. Raises `error` when it is not about any of them."""
        newest = sorted(self._fresh)
        self._fresh.clear()
        if not newest:
            raise error
        _log.error("a document cannot be compiled", exc_info=error, extra={"documents": [str(key) for key in newest]})
        for key in newest:
            self._broken[key] = _broken(key, error)
            self.revert(key)
            self._publish(key)

    def _deliver(self, deltas: list[Delta]) -> bool:
        """Removals first: a name may move from one root to another within a generation."""
        if not deltas:
            return False
        self.generation += 1
        for assembly, type_, old, new in deltas:
            assembly.withdraw(type_, (old, new), self.generation)
        for assembly, type_, _, new in deltas:
            assembly.deliver(type_, new, self.generation)
        settle(dict.fromkeys(assembly.group for assembly, *_ in deltas), self.generation)
        return True

    def scopes(self) -> Iterator[Scope]:
        yield from self._scopes


def _settled(root: Root[Resources] | Root[tuple[Diagnostic, ...]]) -> object:
    try:
        return root.value
    except LookupError:
        return ABSENT


def _broken(key: ConfigKey, error: Exception) -> Diagnostic:
    return Diagnostic(
        code=BROKEN,
        severity=Severity.ERROR,
        message=f"the Manager failed when this document, or one that came with it, was compiled: {error!r}",
        fix="this is a bug of the Manager: report it; the document's last good version stays in force",
        origin=Origin(key),
    )
