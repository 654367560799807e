"""Building blocks for asyncio that know nothing of meshes."""
