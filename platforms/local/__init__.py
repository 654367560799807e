"""A mesh on one machine, described by one file (docs/reference/mesh-file.md): no root, no containers, no server.

Light to import: no grpc here, and nothing that starts a process; launching is left to who reads the plan.
"""

from platforms.local.mesh import LocalMesh, open_mesh, open_platform
from platforms.local.plan import Launch, Plan
from platforms.local.settings import Settings

__all__ = ["Launch", "LocalMesh", "Plan", "Settings", "open_mesh", "open_platform"]
