"""What a request is about: the path, understood once, so that no handler takes strings apart."""

import msgspec
from starlette.requests import Request

from core.kinds.kind import Kind
from core.kinds.registry import KINDS
from core.manager.api.failures import Details, Failure
from core.model.config import ConfigKey


class Target(msgspec.Struct, frozen=True):
    """A kind in a served version; `namespace` "" is all of them, `name` "" the collection."""

    kind: Kind
    version: str
    namespace: str = ""
    name: str = ""

    @property
    def api_version(self) -> str:
        return f"{self.kind.group}/{self.version}"

    @property
    def key(self) -> ConfigKey:
        return ConfigKey(self.kind.group, self.kind.kind, self.namespace, self.name)

    @property
    def details(self) -> Details:
        """As a `Status` names it; Kubernetes puts the plural where it says kind."""
        return Details(name=self.name, group=self.kind.group, kind=self.kind.plural)

    def __str__(self) -> str:
        return f'{self.kind.plural}.{self.kind.group} "{self.name}"'


def target_of(request: Request) -> Target:
    """Raises `Failure` 404 when no such kind is served."""
    path = request.path_params
    if path.get("subresource", "status") != "status":
        raise Failure(404, f"{path['plural']} have no {path['subresource']}: only a status")
    for kind in KINDS:
        if (kind.group, kind.plural) == (path["group"], path["plural"]) and path["version"] in kind.versions:
            return Target(kind, path["version"], path.get("namespace", ""), path.get("name", ""))
    raise Failure(404, f"the server does not serve {path['plural']} in {path['group']}/{path['version']}")
