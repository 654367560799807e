"""Label and field selectors."""

import pytest

from core.manager.api.failures import Failure
from core.manager.api.selectors import selector
from core.model.config import ConfigKey, Document
from core.model.labels import Labels

DOCUMENT = Document(
    key=ConfigKey("g", "K", "shop", "reviews"), labels=Labels.of({"app": "web", "tier": "", "a.b/c": "1"})
)


@pytest.mark.parametrize(
    ("labels", "fields", "selects"),
    [
        ("", "", True),
        ("app=web", "", True),
        ("app==web,tier=", "", True),
        ("app=db", "", False),
        ("app!=db", "", True),
        ("nothing!=x", "", True),
        ("app in (db, web)", "", True),
        ("app in (db),tier", "", False),
        ("app notin (db,cache)", "", True),
        ("nothing notin (x)", "", True),
        ("app,!nothing", "", True),
        ("!app", "", False),
        ("a.b/c=1", "", True),
        ("", "metadata.name=reviews", True),
        ("", "metadata.name!=reviews", False),
        ("", "metadata.name=reviews,metadata.namespace=other", False),
    ],
)
def test_what_a_selector_selects(labels: str, fields: str, selects: bool) -> None:
    """As Kubernetes reads them: != and notin also hold where the label is missing."""
    assert selector(labels, fields).selects(DOCUMENT) is selects


@pytest.mark.parametrize(("labels", "fields"), [("a===b", ""), ("a in b", ""), ("=b", ""), (",", ""), ("a/b/c=d", ""),
                                                ("", "spec.hosts=a"), ("", "metadata.name")])  # fmt: skip
def test_what_is_no_selector_is_refused(labels: str, fields: str) -> None:
    """A selector that cannot be understood never selects everything."""
    with pytest.raises(Failure) as caught:
        selector(labels, fields)
    assert caught.value.status.code == 400
