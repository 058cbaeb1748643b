# SPDX-License-Identifier: Apache-2.0
"""/metrics as OpenMetrics: read by the real parser, scraped by a real Prometheus, compared with the text format."""
import gzip
import math
import os
import time

import pytest
from bus import parse_metrics, wait_until
from prometheus import Prometheus
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from short_publisher import ShortPublisher, counter, family, gauge, histogram, point

OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
# What Prometheus 2.42 sends.
PROMETHEUS = ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
              "text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
HOSTILE = ['"', "\\", "\n", "\\n", '\\"', "} 1 # {", '{x="y"}', " # ", "# EOF", "a,b=\"c\"", "\t\r", "\u2028", "\U0001f600",
           "\0", "{}", "x" * 300, "é" * 100, "le=\"1\""]


def open_metrics(bus):
    status, headers, body = bus.get("/metrics", headers={"Accept": PROMETHEUS})
    assert status == 200 and headers["Content-Type"] == OPEN_METRICS
    return body.decode()


def families(text):
    """{name: family} of a page; the parser refuses families and series that stand twice."""
    return {f.name: f for f in text_string_to_metric_families(text)}


def by_series(samples):
    """{(name, labels): value}; bounds as numbers, because both formats write them differently."""
    def label(name, value):
        return (name, float(value)) if name == "le" else (name, value)

    return {(name, tuple(label(*pair) for pair in labels)): value for (name, labels), value in samples.items()}


def exemplar(value, seconds_ago=0.0):
    return [value, time.time_ns() - int(seconds_ago * 1e9), os.urandom(16), os.urandom(8)]


def ids(sent):
    return {"trace_id": sent[2].hex(), "span_id": sent[3].hex()}


def same(a, b):
    return a == b or (math.isnan(a) and math.isnan(b))


def send_all_kinds(publisher):
    """Every kind of metric with every label value and number that is hard to write, and names that clash."""
    bounds = [0.001, 1, 5, 100000, 1e6, 1e21]
    publisher.send_all(met=[
        [family("hostile_total", "counter", ["v"], "", 'help "quoted" \\ \n'), [point(i, v) for i, v in enumerate(HOSTILE)]],
        [family("hostile_wait", "histogram", ["v"], bounds=bounds),
         [point([2, 3.5, [1, 0, 1, 0, 0, 0, 0]], v, exemplar=exemplar(2)) for v in HOSTILE]],
        [family("odd", "gauge", ["v"]), [point(v, str(i)) for i, v in enumerate([math.nan, math.inf, -math.inf, -0.0, 1e300, 5e-324])]],
        gauge("clash", 1), counter("clash_total", 2), gauge("below_created", 3), histogram("below", [1], [0.5]),
        histogram("negative", [-1, 1], [-2, 0, 2]), histogram("falling", [1], [-5.0]),
        counter("strange name/é", 4), counter("sent_bytes", 6, unit="bytes"),
        [family("big_total", "counter"), [point(1.7e308)]],
    ])


@pytest.mark.sanitize
def test_both_formats_say_the_same_whatever_is_sent(bus):
    with ShortPublisher(bus.tcp, resource={"run": "r\"1\\"}) as publisher:
        send_all_kinds(publisher)
        bus.wait_value("sent_bytes_total", 6, run='r"1\\')
        plain = by_series(parse_metrics(bus.metrics_text()))
        page = open_metrics(bus)
        parsed = families(page)

    samples = {(s.name, tuple(sorted(s.labels.items()))): s.value for f in parsed.values() for s in f.samples}
    shown = by_series(samples)
    assert {k for k in shown if not k[0].startswith("insight_")} == {k for k in plain if not k[0].startswith("insight_")}
    assert shown.keys() == plain.keys()
    assert all(same(shown[k], plain[k]) for k in plain if not k[0].startswith("insight_"))
    assert page.count("# EOF\n") == 1 and page.endswith("\n# EOF\n")
    assert (parsed["hostile"].type, parsed["hostile_wait"].type, parsed["odd"].type) == ("counter", "histogram", "gauge")
    assert parsed["hostile"].documentation == 'help "quoted" \\ \n'
    assert parsed["sent_bytes"].unit == "bytes" and parsed["insight_sink_queue_bytes"].unit == "bytes"
    for name in ("clash_total", "below_bucket", "below_sum", "negative_bucket", "falling_sum"):
        assert parsed[name].type == "unknown", name


def test_who_asks_for_it_gets_it_and_nobody_else(bus):
    def content_type(accept):
        status, headers, body = bus.get("/metrics", headers={"Accept": accept} if accept else {})
        assert status == 200 and headers["Vary"] == "Accept, Accept-Encoding"
        assert body.endswith(b"\n# EOF\n") == (headers["Content-Type"] == OPEN_METRICS)
        return headers["Content-Type"]

    for accept in (PROMETHEUS, "application/openmetrics-text", "application/openmetrics-text, */*", "*/*;q=0.1, application/openmetrics-text;q=0.5",
                   "text/plain;q=0, */*"):
        assert content_type(accept) == OPEN_METRICS, accept
    for accept in (None, "*/*", "text/html", "image/png", "application/openmetrics-text;version=0.0.1",
                   "application/openmetrics-text;q=0", "application/openmetrics-text;q=0.4,text/plain;q=0.5", ";;,q", "x" * 2000):
        assert content_type(accept) == TEXT, accept


@pytest.mark.sanitize
def test_a_page_is_compressed_for_who_wants_that(bus):
    with ShortPublisher(bus.tcp, hwm=100) as publisher:
        for i in range(10):
            publisher.send_all(met=[[family("wide_total", "counter", ["a", "b"]),
                                     [point(1, str(i), f"{j}-" + "x" * 100) for j in range(1000)]]])
        wait_until(lambda: bus.metrics_text().count("wide_total{") == 10_000, 20)
        for path in ("/metrics", "/api/v1/status"):
            for accept in (TEXT, OPEN_METRICS):
                status, headers, body = bus.get(path, headers={"Accept-Encoding": "gzip;q=0.8, br", "Accept": accept})
                assert (status, headers["Content-Encoding"]) == (200, "gzip"), path
                text = gzip.decompress(body).decode()
                if path == "/metrics":
                    assert len(body) < len(text) / 5
                    assert text.count("wide_total{") == 10_000
        assert "Content-Encoding" not in bus.get("/metrics", headers={"Accept-Encoding": "gzip;q=0"})[1]
        assert "Content-Encoding" not in bus.get("/healthz", headers={"Accept-Encoding": "gzip"})[1]
        status, headers, body = bus.get("/metrics", method="HEAD", headers={"Accept-Encoding": "gzip", "Accept": OPEN_METRICS})
        assert (status, body, headers["Content-Type"]) == (200, b"", OPEN_METRICS)
        assert bus.get("/metric", headers={"Accept-Encoding": "gzip"})[0] == 404


def test_prometheus_takes_whatever_is_sent(bus, prometheus):
    with ShortPublisher(bus.tcp) as publisher:
        send_all_kinds(publisher)

        stored = prometheus.wait_query("hostile_total", lambda found: len(found) == len(HOSTILE))
        assert {labels["v"] for labels, _ in stored} == {v.replace("\0", "\ufffd") for v in HOSTILE}
        # A scrape that takes too long on a busy machine makes all series stale until the next one.
        assert prometheus.wait_query("clash_total", bool)[0][1] == 2
        bounds = prometheus.wait_query("negative_bucket", bool)
        assert {float(labels["le"]) for labels, _ in bounds} == {-1, 1, math.inf}
        assert prometheus.wait_query("falling_sum", bool)[0][1] == -5


def test_prometheus_stores_the_exemplars_of_a_foreign_publisher(bus, resources):
    prometheus = resources.enter_context(Prometheus(bus.http, arguments=["--enable-feature=exemplar-storage"]))
    first, second, third = exemplar(0.05, 3), exemplar(0.5, 2), exemplar(7.0, 1)
    on_counter = exemplar(1.0, 1)
    label = 'a"b\\c\n'
    wait = family("job_wait_seconds", "histogram", ["q"], "seconds", bounds=[0.1, 1, 10])
    with ShortPublisher(bus.tcp, resource={"run": "r1"}) as publisher:
        publisher.send_all(met=[[wait, [point([1, 0.05, [1, 0, 0, 0]], label, exemplar=first)]],
                                [family("jobs_total", "counter"), [point(1, exemplar=on_counter)]]])
        publisher.send_all(met=[[wait, [point([2, 0.55, [1, 1, 0, 0]], label, exemplar=second)]]])
        publisher.send_all(met=[[wait, [point([3, 7.55, [1, 1, 1, 0]], label, exemplar=third)]]])

        wait_until(lambda: len(prometheus.exemplars("job_wait_seconds_bucket")) == 3, 30, "three exemplars are stored")
        stored = {labels["le"]: (labels, found) for labels, found in prometheus.exemplars("job_wait_seconds_bucket")}
        for bound, sent in (("0.1", first), ("1.0", second), ("10.0", third)):
            labels, found = stored[bound]
            assert (labels["q"], labels["run"]) == (label, "r1")
            assert found["labels"] == ids(sent)
            assert sum(len(k) + len(v) for k, v in found["labels"].items()) <= 128
            assert float(found["value"]) == sent[0]
            assert abs(found["timestamp"] - sent[1] / 1e9) < 0.002
        [(_, found)] = wait_until(lambda: prometheus.exemplars("jobs_total"), 30)
        assert found["labels"] == ids(on_counter)
        assert prometheus.wait_query("job_wait_seconds_count", bool)[0][1] == 3

        newer = exemplar(0.06)
        publisher.send_all(met=[[wait, [point([4, 7.61, [2, 1, 1, 0]], label, exemplar=newer)]]])
        wait_until(lambda: ids(newer) in [e["labels"] for _, e in prometheus.exemplars('job_wait_seconds_bucket{le="0.1"}')], 30,
                   "the newer exemplar is stored beside the older one")
    assert bus.value("insight_sink_up", sink="prometheus") == 1


def test_exemplars_end_with_the_broker_and_totals_do_not(bus):
    wait = family("job_wait_seconds", "histogram", [], bounds=[1])
    with ShortPublisher(bus.tcp) as publisher:
        publisher.send_all(met=[[wait, [point([1, 0.5, [1, 0]], exemplar=exemplar(0.5))]]])
        bus.wait_value("job_wait_seconds_count", 1)
        assert " # {trace_id=" in open_metrics(bus)

        bus.restart()

        assert " # {trace_id=" not in open_metrics(bus)
        assert bus.value("job_wait_seconds_count") == 1


def test_starts_of_totals_are_shown_when_they_are_asked_for(new_bus):
    bus = new_bus(config=new_bus().CONFIG.replace("[sinks.prometheus]", "[sinks.prometheus]\ncreated = true")).start()
    with ShortPublisher(bus.tcp) as publisher:
        publisher.send_all(met=[counter("jobs_total", 1), histogram("wait", [1], [0.5])])
        bus.wait_value("jobs_total", 1)
        parsed = families(open_metrics(bus))

    for name in ("jobs", "wait"):
        [created] = [s.value for s in parsed[name].samples if s.name == name + "_created"]
        assert created == publisher.t0 // 10**9
    assert "_created" not in bus.metrics_text()
