"""The figures of the demo's table come out of counters as Prometheus would compute them."""

import math

import pytest

from istioctl.demo.prometheus import Sample, Series, parse
from istioctl.demo.rates import Window, increase, quantile
from istioctl.demo.traffic import LATENCY, NAMES, NOBODY, REQUESTS, rows

A, B = Series("a"), Series("b")


def requests(
    version: str, *, reporter: str = "source", code: str = "200", service: str = "reviews", **more: str
) -> Series:
    labels = {"reporter": reporter, "response_code": code, "destination_service_name": service}
    return Series(REQUESTS, tuple(sorted((labels | {"destination_version": version} | more).items())))


def bucket(version: str, bound: str, *, reporter: str = "source") -> Series:
    labels = {"reporter": reporter, "le": bound, "destination_service_name": "reviews", "destination_version": version}
    return Series(LATENCY, tuple(sorted(labels.items())))


# -- reading -----------------------------------------------------------------------------------------------------------


def test_samples_are_read_with_their_labels() -> None:
    """Labels may hold every character, escaped; a time behind the value is passed over."""
    text = (
        "# TYPE a counter\n"
        'a{y="1",x="q\\"u,o}te\\\\n\\n"} 5 1700000000000\n'
        'b{le="+Inf",} 7\n'
        "c 9\n"
        'a_total{x="1"} 11\n'
        "a 3.5e+2\n"
    )
    assert parse(text, names=("a", "b")) == {
        Series("a", (("x", 'q"u,o}te\\n\n'), ("y", "1"))): 5.0,
        Series("b", (("le", "+Inf"),)): 7.0,
        Series("a"): 350.0,
    }


@pytest.mark.parametrize("line", ["a", "a{", 'a{x="1"}', "a nonsense", "", "a{} "])
def test_what_is_no_sample_is_passed_over(line: str) -> None:
    """A proxy that is cut off while it speaks does not break the table."""
    assert parse(line, names=("a",)) == {}


# -- counters ----------------------------------------------------------------------------------------------------------


def test_counters_are_compared() -> None:
    """What is new counts in full; what stayed or went away does not count."""
    assert increase({A: 5.0, B: 2.0}, {A: 8.0, B: 2.0, Series("new"): 4.0}) == {A: 3.0, Series("new"): 4.0}
    assert increase({A: 5.0, B: 2.0}, {}) == {}


def test_a_restarted_proxy_counts_from_zero() -> None:
    """A counter that went down shows what came after the restart, and never a negative rate."""
    assert increase({A: 500.0}, {A: 3.0}) == {A: 3.0}


def test_what_was_counted_before_we_looked_is_no_traffic_now() -> None:
    """The first sample of a proxy is where counting starts."""
    window = Window(5)
    window.observe({"p": {A: 1000.0}}, at=0)
    assert (window.counted(), window.seconds()) == ({}, 0)
    window.observe({"p": {A: 1010.0}}, at=1)
    assert (window.counted(), window.seconds()) == ({A: 10.0}, 1)


def test_the_window_forgets() -> None:
    """Only the last seconds count, and all proxies together."""
    window = Window(5)
    for second in range(21):
        window.observe({"p": {A: 10.0 * second}, "q": {A: 20.0 * second}}, at=second)
    assert window.seconds() == 5
    assert window.counted() == {A: 150.0}


def test_a_proxy_that_went_away_stops_counting() -> None:
    """Its last traffic leaves the window, and nothing of it is kept."""
    window = Window(3)
    for second in range(4):
        window.observe({"p": {A: 10.0 * second}, "q": {B: 1.0 * second}}, at=second)
    for second in range(4, 10):
        window.observe({"q": {B: 1.0 * second}}, at=second)
    assert window.counted() == {B: 3.0}


def test_a_restart_within_the_window_counts_both_lives() -> None:
    """10 before, 4 after: 14."""
    window = Window(10)
    for second, value in enumerate([100.0, 110.0, 1.0, 4.0]):
        window.observe({"p": {A: value}}, at=second)
    assert window.counted() == {A: 14.0}


# -- quantiles ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.5, 5.0), (0.25, 2.5), (0.9, 50.0), (0.95, 75.0), (1.0, 100.0), (0.0, 0.0)],
)
def test_quantiles_are_linear_within_a_bucket(share: float, expected: float) -> None:
    """The values of Prometheus' histogram_quantile for 80 observations up to 8, 10 more up to 50, 10 up to 100."""
    assert quantile(share, {8.0: 80.0, 50.0: 90.0, 100.0: 100.0, math.inf: 100.0}) == pytest.approx(expected)


def test_beyond_the_last_bound_it_is_that_bound() -> None:
    """Nobody knows how large the largest were."""
    assert quantile(0.99, {10.0: 1.0, 100.0: 2.0, math.inf: 50.0}) == 100.0


@pytest.mark.parametrize("buckets", [{}, {1.0: 0.0, math.inf: 0.0}])
def test_nothing_has_no_quantile(buckets: dict[float, float]) -> None:
    """None is not 0 ms."""
    assert quantile(0.5, buckets) is None


# -- rows --------------------------------------------------------------------------------------------------------------


def test_rates_and_success_are_those_that_callers_saw() -> None:
    """30 calls in 3 s are 10 a second, a third of them failed; what the other side saw is not counted twice."""
    counted: Sample = {
        requests("v1"): 20.0,
        requests("v1", code="503"): 10.0,
        requests("v1", reporter="destination", connection_security_policy="mutual_tls"): 20.0,
    }
    (row,) = rows(counted, seconds=3)
    assert (row.service, row.version, row.rate, row.mutual) == ("reviews", "v1", 10.0, 1.0)
    assert row.success == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("code", "more", "good"),
    [
        ("200", {}, 1.0),
        ("404", {}, 1.0),
        ("500", {}, 0.0),
        ("0", {}, 0.0),
        ("200", {"request_protocol": "grpc", "grpc_response_status": "14"}, 0.0),
        ("200", {"request_protocol": "grpc", "grpc_response_status": "0"}, 1.0),
    ],
)
def test_what_is_a_success(code: str, more: dict[str, str], good: float) -> None:
    """A server's failures and broken connections are none; for gRPC its own status says so."""
    assert rows({requests("v1", code=code, **more): 4.0}, seconds=1)[0].success == good


def test_plain_text_is_seen() -> None:
    """A quarter of the calls that arrived had no mutual TLS."""
    mutual = requests("v1", reporter="destination", connection_security_policy="mutual_tls")
    plain = requests("v1", reporter="destination", connection_security_policy="none")
    assert rows({mutual: 3.0, plain: 1.0}, seconds=1)[0].mutual == 0.75


def test_latency_is_that_of_callers() -> None:
    """p50 and p99 come from the buckets of the source."""
    counted = {
        bucket("v1", "5"): 50.0,
        bucket("v1", "10"): 100.0,
        bucket("v1", "+Inf"): 100.0,
        bucket("v1", "5", reporter="destination"): 900.0,
        requests("v1"): 100.0,
    }
    (row,) = rows(counted, seconds=1)
    assert row.p50 == 5.0
    assert row.p99 == pytest.approx(9.9)


def test_calls_that_reached_nobody_have_a_row_of_their_own() -> None:
    """A fault is answered by the caller's sidecar: no version got it."""
    (nobody, v1) = rows({requests("unknown", code="503"): 5.0, requests("v1"): 5.0}, seconds=1)
    assert (nobody.version, nobody.success) == (NOBODY, 0.0)
    assert (v1.version, v1.success) == ("v1", 1.0)


def test_versions_stay_or_vanish() -> None:
    """Those of the mesh are shown without traffic too, with dashes and not with zeros; others go with their traffic."""
    (row,) = rows({requests("v9"): 0.0}, seconds=5, known=[("reviews", "v1")])
    assert (row.version, row.rate, row.success, row.p50, row.mutual) == ("v1", 0.0, None, None, None)


def test_other_metrics_and_unknown_services_make_no_row() -> None:
    """Traffic to hosts outside the mesh is not in the table of its services."""
    assert rows({requests("v1", service="unknown"): 3.0}, seconds=1) == ()
    assert REQUESTS in NAMES
