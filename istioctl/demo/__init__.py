"""`istioctl demo`: a whole mesh to look at, with load on it, a table of what happens, and a proof that all of it works.

The mesh itself is run by `istioctl.local`, as `istioctl up` does it; here is only what stands around it.
"""
