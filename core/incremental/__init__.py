"""Recomputes exactly what a change reaches: input tables, and derived functions memoised over them.

The idea is that of salsa and adapton: reads are recorded while a derived function runs, a write marks what depends
on it, and only what is asked for again is recomputed. Not for I/O, threads or asyncio; it knows nothing about meshes.
Rules for those who write derived functions: docs/adr/0002-incremental-engine.md.
"""

from core.incremental.graph import Graph, HasGraph, derived
from core.incremental.inputs import Multimap, Table
from core.incremental.nodes import Change, Root
from core.incremental.results import ABSENT, Absent, Call, Cycle, Failed

__all__ = [
    "ABSENT",
    "Absent",
    "Call",
    "Change",
    "Cycle",
    "Failed",
    "Graph",
    "HasGraph",
    "Multimap",
    "Root",
    "Table",
    "derived",
]
