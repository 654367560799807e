"""Tells which workload of the mesh file a proxy belongs to, by the name in its node id."""

from core.model.workload import Node, Workload, workload_of_node
from platforms.local.registry import FileRegistry


class FileLocator:
    """A `Locator`. Who may claim a node id is settled before: every proxy has a socket of its own."""

    def __init__(self, registry: FileRegistry) -> None:
        self._registry = registry

    def locate(self, node: Node) -> Workload | None:
        key = workload_of_node(node.id)
        return self._registry.workload(key) if key else None
