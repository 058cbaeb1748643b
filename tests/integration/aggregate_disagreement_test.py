# SPDX-License-Identifier: Apache-2.0
"""Processes that disagree about a metric, and text that tries to break the page."""
import math

import msgpack
import pytest
from bus import key, parse_metrics, promtool_check
from short_publisher import ShortPublisher, counter, family, gauge, histogram, point

NASTY = 'quote " backslash \\ newline \n carriage \r tab \t brace } = { , # nul \0 emoji \U0001f980'


@pytest.fixture
def pair(bus, resources):
    """Two publishers; the first one's metrics are there before the second one speaks."""
    return [resources.enter_context(ShortPublisher(bus.tcp, resource={"service.name": name, "host.name": "h"}))
            for name in ("first", "second")]


def dropped(bus, reason):
    """What the Prometheus sink dropped for a reason."""
    return bus.value("insight_bus_records_dropped_total", default=0, stage="sink", reason=reason, sink="prometheus")


def refusals(bus):
    return {(r["metric"], r["reason"]): r for r in bus.api("series")["refusals"] if r["metric"]}


def named(publisher, service):
    """How the status names a publisher."""
    return f"{service}/h/{publisher.resource['process.pid']} ({publisher.incarnation[:8]})"


def check_page(bus):
    """The page as Prometheus, promtool and a strict parser read it; its series."""
    text = bus.metrics_text()
    code, messages = promtool_check(text)
    assert code in (0, 3), messages
    return parse_metrics(text)


@pytest.mark.sanitize
def test_the_first_declaration_wins_and_the_status_names_both(bus, prometheus, pair):
    first, second = pair
    first.send_all(met=[
        counter("jobs", 3), histogram("wait_seconds", [1, 2], [0.5, 1.5, 9]), gauge("depth", 5, merge="sum"),
        histogram("size_bytes", [1], [0.5]), counter("visits_total", 1, help="first", page="a"),
    ])
    bus.wait_value("depth", 5)
    second.send_all(met=[
        gauge("jobs", 7), histogram("wait_seconds", [1, 3], [0.5]), counter("depth_total", 2),
        gauge("size_bytes_sum", 9), counter("visits_total", 10, help="second\nline", path="b"), gauge("insight_publishers", 99),
        histogram("jobs_total", [1], [1]),
    ])
    # Of the same histogram with finer bounds nothing is lost.
    second.send_all(met=[histogram("size_bytes", [0.25, 1, 4], [0.1, 0.5, 3]), counter("marker", 1)])
    bus.wait_value("marker_total", 1)

    series = check_page(bus)
    assert series[key("jobs_total")] == 3
    assert series[key("wait_seconds_count")] == 3
    assert series[key("depth")] == 5 and series[key("depth_total")] == 2
    assert series[key("visits_total", page="a")] == 1 and series[key("visits_total", path="b")] == 10
    assert series[key("size_bytes_bucket", le="1")] == 3 and series[key("size_bytes_count")] == 4
    assert key("size_bytes_sum") in series and series[key("size_bytes_sum")] == 4.1
    assert key("insight_publishers") not in series
    assert "# HELP visits_total first\n" in bus.metrics_text()

    assert dropped(bus, "conflict") == 4 and dropped(bus, "schema") == 1
    found = refusals(bus)
    for metric, reason in [("jobs", "conflict"), ("wait_seconds", "schema"), ("size_bytes_sum", "conflict"),
                           ("jobs_total", "conflict")]:
        refusal = found[metric, reason]
        assert refusal["first"] == named(first, "first") and refusal["second"] == named(second, "second")
        assert refusal["points_dropped"] == 1
    assert found["insight_publishers", "conflict"]["first"] == "the bus itself"
    shown = bus.ctl("status").stdout
    assert "wait_seconds" in shown and named(first, "first") in shown and named(second, "second") in shown
    prometheus.wait_query('up{job="bus"}', lambda result: result and result[0][1] == 1)
    prometheus.wait_query("marker_total", lambda result: result and result[0][1] == 1)


@pytest.mark.sanitize
def test_text_and_values_of_any_kind_leave_the_page_valid(bus, prometheus, pair):
    first, second = pair
    first.send_all(met=[
        counter("nasty", 1, help=NASTY, text=NASTY),
        [family("9 bad-näme{}\n\"", "counter", ["9", "__name__", "le", "a.b", "a-b", "instance"], "", NASTY),
         [point(2, "1", "2", "3", "4", "5", "6")]],
        [family("labelled_seconds", "histogram", ["le", "quantile"], "s", "", bounds=[1]),
         [point([1, 0.5, [1, 0]], "x", "y")]],
        gauge("shown_each", math.nan, merge="each", publisher="me"), gauge("big", math.inf), gauge("small", -math.inf),
        gauge("tiny", 5e-324), counter("exact", 2**53 - 1), gauge("empty", 1, a=""), gauge("long", 1, a="x" * 4000),
        counter("negative", -1), gauge("marker", 1),
    ])
    bus.wait_value("marker", 1)
    bad = msgpack.packb(["\udcff\udcfe"], unicode_errors="surrogateescape")
    second.send_all(met=[
        [family("nasty", "counter", ["text"]), [[bad, 5]]],
        gauge("shown_each", 4, merge="each", publisher="me"), gauge("marker", 2),
    ])
    bus.wait_value("marker", 2)

    series = check_page(bus)
    # The format has no way to write a NUL; the rest comes back as it was.
    shown = NASTY.replace("\0", "\ufffd")
    assert series[key("nasty_total", text=shown)] == 1
    assert series[key("__bad_n_me_____total", _="1", _name__="2", a_b="5;4", instance="6", le="3")] == 2
    assert series[key("labelled_seconds_bucket", exported_le="x", quantile="y", le="1")] == 1
    assert math.isnan(series[key("shown_each", exported_publisher="me", publisher=first.incarnation)])
    assert series[key("shown_each", exported_publisher="me", publisher=second.incarnation)] == 4
    assert series[key("big")] == math.inf and series[key("small")] == -math.inf and series[key("tiny")] == 5e-324
    assert series[key("exact_total")] == 2**53 - 1 and "\nexact_total 9007199254740991\n" in bus.metrics_text()
    assert series[key("empty")] == 1 and series[key("long", a="x" * 4000)] == 1
    assert key("negative_total") not in series
    assert bus.value("insight_bus_records_dropped_total", stage="ingress", reason="bad_value") == 2
    prometheus.wait_query("marker", lambda result: result and result[0][1] == 2)
    prometheus.wait_query("nasty_total", lambda result: len(result) == 1 and result[0][0]["text"] == shown)
