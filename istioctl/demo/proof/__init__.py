"""`istioctl demo --check`: calls the mesh of the demo from outside, and holds what comes of it against its promises.

Each step is a function of the site that returns what it saw, or raises `Failed` with it. Steps run in order, because
rules that one of them writes are in force for the next.
"""
