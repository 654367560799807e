"""What `istioctl check` looks at: this machine, the state directory, and the mesh that runs with it.

Each module gathers facts, which may take a moment and fail, and judges them by pure functions, which may not.
"""
