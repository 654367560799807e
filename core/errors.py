"""Failures of the environment. A wrong document is not an error but a `Diagnostic`; a bug is any other exception."""


class MeshError(Exception):
    """Base of every failure that the mesh expects of its surroundings.

    `fix` says in one sentence what the reader can do about it; it may be empty.
    """

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


class Unavailable(MeshError):
    """The other side cannot be reached or cannot answer now. The only error that is retried."""


class Conflict(MeshError):
    """A write met a newer version of the object than the writer had read."""


class NotFound(MeshError):
    """The named object does not exist."""


class Denied(MeshError):
    """The other side knows who is asking and says no."""


class Misconfigured(MeshError):
    """Settings, files or the machine are not as this process needs them; trying again does not help."""


class Expired(MeshError):
    """What was asked for lies further back than is remembered: begin with a list."""
