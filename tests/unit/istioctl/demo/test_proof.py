"""The proof can fail: each step tells when something else is seen than what was promised."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from istioctl.demo.entrance import Entrance, call
from istioctl.demo.proof import record, routing
from istioctl.demo.proof.chance import SIGMAS, bounds
from istioctl.demo.proof.record import Proven
from istioctl.demo.proof.run import Prover
from istioctl.demo.proof.site import Failed, Site, counted, version
from istioctl.demo.proof.steps import STEPS
from istioctl.demo.stage import broken

WHOLE: dict[str, object] = {"title": "T", "details": {}, "reviews": {"stars": "red"}}


@contextmanager
def answering(page: Callable[[int, str], tuple[int, object]]) -> Iterator[Entrance]:
    """A server in the place of the mesh; `page` gives status and JSON for the n-th call of somebody."""
    calls = iter(range(10**6))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = page(next(calls), self.headers.get("end-user", ""))
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Entrance(url=f"http://127.0.0.1:{server.server_port}/")
        server.shutdown()
        thread.join()


class Pages:
    """As much of a stage as routing steps look at."""

    def __init__(self, entrance: Entrance) -> None:
        self.entrance = entrance


def site(entrance: Entrance) -> Site:
    return Site(Pages(entrance))  # type: ignore[arg-type]


def stars(colour: str) -> dict[str, object]:
    return WHOLE | {"reviews": {"stars": colour}}


COLOURS = ("none", "black", "red")


def test_a_whole_page_is_good() -> None:
    """And what was seen is told, with the command that people can repeat."""
    with answering(lambda number, user: (200, WHOLE)) as entrance:
        assert f"curl {entrance.url}: 'T' with details and reviews" in routing.page(site(entrance))


@pytest.mark.parametrize(
    ("answer", "said"),
    [((200, {"details": {"error": "x"}, "reviews": {}}), "lacks details"), ((200, []), "[]")],
)
def test_half_a_page_is_not(answer: tuple[int, object], said: str) -> None:
    """A part with an error, and what is no page at all, are failures."""
    with answering(lambda number, user: answer) as entrance, pytest.raises(Failed) as failure:
        routing.page(site(entrance))
    assert said in str(failure.value)


def test_nobody_at_the_door_is_a_failure() -> None:
    """Curl's own words are passed on."""
    with pytest.raises(Failed, match="curl"):
        routing.page(site(Entrance(url="http://127.0.0.1:1/")))


def test_every_version_has_to_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three are, or two are not enough."""
    monkeypatch.setattr("istioctl.demo.proof.site.PATIENCE", 0.2)
    with answering(lambda number, user: (200, stars(COLOURS[number % 3]))) as entrance:
        assert routing.all_versions(site(entrance)) == "v1 20, v2 20, v3 20"
    with answering(lambda number, user: (200, stars(COLOURS[number % 2]))) as entrance, pytest.raises(Failed):
        routing.all_versions(site(entrance))


def test_a_page_that_does_not_come_is_a_failure() -> None:
    """One of sixty is enough."""
    with answering(lambda number, user: (500 if number == 7 else 200, WHOLE)) as entrance, pytest.raises(Failed) as it:
        site(entrance).pages(60)
    assert "1 of 60 pages did not come: HTTP 500" in str(it.value)


@pytest.mark.parametrize(("red", "passes"), [(40, True), (0, False), (70, False)])
def test_shares_have_bounds(red: int, passes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A share that chance does not explain fails; FEW pages before it are the wait for the rule."""
    monkeypatch.setattr(Site, "istioctl", lambda self, *arguments, stdin="": "")

    def page(number: int, user: str) -> tuple[int, object]:
        return 200, stars("red" if routing.FEW <= number < routing.FEW + red else "none")

    with answering(page) as entrance:
        if passes:
            assert routing.split(site(entrance)) == "v1 360, v3 40 (10.0% to v3)"
        else:
            with pytest.raises(Failed):
                routing.split(site(entrance))


def test_waiting_ends() -> None:
    """What comes in time is good; else what was seen last is told; and nobody waits for a step that was left."""
    nowhere = site(Entrance(url="http://127.0.0.1:1/"))
    seen = iter(["a", "b"])

    def look() -> str:
        if (found := next(seen, "c")) != "c":
            raise Failed(found)
        return found

    def never() -> str:
        raise Failed("no")

    assert nowhere.eventually(look, within=5) == "c"
    with pytest.raises(Failed, match=r"after 0\.1 s still: no"):
        nowhere.eventually(never, within=0.1)
    nowhere.leave()
    with pytest.raises(Failed, match="stopped"):
        nowhere.eventually(never, within=60)
    with pytest.raises(Failed, match="stopped"):
        nowhere.page()


@pytest.mark.parametrize(("share", "number"), [(0.1, 400), (0.5, 200)])
def test_bounds_are_four_standard_deviations(share: float, number: int) -> None:
    """Wide enough for chance (the exact binomial chance outside is below 1 in 5000), too narrow for another rule."""
    found = bounds(share, number)
    inside = sum(
        math.comb(number, count) * share**count * (1 - share) ** (number - count)
        for count in range(found.least, found.most + 1)
    )
    assert 1 - inside < 1 / 5000
    assert round(share * number * 2) not in found
    assert SIGMAS == 4.0


def test_versions_are_told_by_their_stars() -> None:
    """A page without reviews is from none."""
    assert [version(stars(each)) for each in COLOURS] == ["v1", "v2", "v3"]
    assert version({"reviews": {"error": "x"}}) == "none"
    assert broken(WHOLE) == []
    assert broken({}) == ["details", "reviews"]


def test_calls_through_a_proxy_name_the_whole_url() -> None:
    """As curl -x does it."""
    entrance = Entrance(url="http://page:9080/", proxy="127.0.0.1:15007")
    assert (entrance.target, entrance.server, entrance.host) == ("http://page:9080/", ("127.0.0.1", 15007), "page:9080")
    assert entrance.curl == ("-x", "http://127.0.0.1:15007", "http://page:9080/")
    assert call(Entrance(url="http://127.0.0.1:1/")).status == 0


# -- how it is told ----------------------------------------------------------------------------------------------------

GOOD = Proven(title="t", expected="e", seen="s", passed=True, seconds=1.25)
BAD = Proven(title="u", expected="f", seen="r", passed=False, seconds=0.5)


def test_each_step_tells_what_was_expected_and_seen() -> None:
    """In text and in JSON."""
    assert len(list(record.lines(GOOD))) == 3
    assert any("✗" in line for line in record.lines(BAD))
    assert record.verdict([GOOD], seconds=2) == "All 1 hold, after 2.0 s."
    assert record.verdict([GOOD, BAD], seconds=2).startswith("1 of 2 do NOT hold")
    said = json.loads(record.json([GOOD, BAD], capture="none", seconds=2))
    assert (said["schema"], said["passed"], said["steps"][1]["seen"]) == ("istioctl.demo.check/v1", False, "r")
    assert counted(Counter("aab")) == "a 2, b 1"


def test_titles_are_different_and_nothing_is_proven_twice() -> None:
    """The table is what it says."""
    assert len({step.title for step in STEPS}) == len({step.prove for step in STEPS}) == len(STEPS)
    assert Prover.__doc__
