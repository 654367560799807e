"""A platform that is nothing but memory: what is put is there. For tests, features and demonstrations.

An honest fake: it keeps the contracts of `core.ports` in full and is held to the conformance suite.
"""

from platforms.memory.config_store import MemoryConfigStore
from platforms.memory.platform import MemoryPlatform, open_platform
from platforms.memory.registry import MemoryRegistry
from platforms.memory.secrets import MemorySecrets

__all__ = ["MemoryConfigStore", "MemoryPlatform", "MemoryRegistry", "MemorySecrets", "open_platform"]
