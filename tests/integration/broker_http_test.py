# SPDX-License-Identifier: Apache-2.0
"""What the broker serves over HTTP."""
import pathlib
import socket
import time
import tomllib

import pytest
from bus import PATIENCE, ROOT, promtool_check, wait_until
from prometheus_client.parser import text_string_to_metric_families
from broker_life_test import LEAVES_THREADS
from short_publisher import ShortPublisher, counter, family, gauge, point, span

CATALOGUE = tomllib.loads((pathlib.Path(ROOT) / "compose" / "catalogue.toml").read_text())["metric"]


@pytest.fixture
def busy_bus(bus):
    """A broker that has seen something of everything, so that each of its metrics has a series."""
    resource = {"run": "r1", "role": "trainer", "rank": 0, "host.name": "node7"}
    with ShortPublisher(bus.tcp, resource=resource) as publisher:
        publisher.send_all(met=[
            counter("jobs_total", 3, help="Jobs done"),
            [family("insight_progress_timestamp_seconds", "gauge", ["name"], "s", "Last tick"), [point(time.time() - 5, "loop")]],
        ])
        publisher.send_all(spn=[span("job")])
        bus.wait_value("jobs_total", 3, run="r1", role="trainer", rank="0")
        wait_until(lambda: bus.value("insight_bus_records_delivered_total", sink="file", signal="spans") == 1)
        yield bus


def own_families(text):
    known = {m["name"] for m in CATALOGUE}
    return {f.name + ("_total" if f.type == "counter" else ""): f for f in text_string_to_metric_families(text)
            if f.name in known or f.name + "_total" in known or f.name.startswith("insight_")
            and not f.name.startswith("insight_progress_timestamp")}


def test_the_catalogue_and_the_bus_agree_on_every_metric(busy_bus):
    busy_bus.ctl("run", "--endpoint", busy_bus.tcp, "--", "true", check=True)
    busy_bus.wait_value("insight_run_exits_total", 1, command="true", code="0")
    # A load that is too much for this machine at this moment ends with 1.
    assert busy_bus.ctl("bench", "--rate", "20000", "--seconds", "0.2").returncode in (0, 1)
    served = own_families(busy_bus.metrics_text())
    described = {m["name"]: m for m in CATALOGUE}

    assert set(served) == set(described)
    for name, metric in described.items():
        found = served[name]
        assert found.type == metric["type"], name
        assert found.documentation == metric["help"], name
        labels = set().union(*(s.labels for s in found.samples)) - {"le"}
        assert labels == set(metric["labels"]), name
        if metric["type"] == "histogram":
            bounds = {float(s.labels["le"]) for s in found.samples if s.name.endswith("_bucket")}
            assert bounds == {float(b) for b in metric["buckets"]} | {float("inf")}, name
        if metric["unit"]:
            assert metric["unit"] in name, name


def test_promtool_finds_nothing_to_say_about_the_bus_s_own_metrics(busy_bus):
    text = busy_bus.metrics_text()
    page = "".join(line for line in text.splitlines(True) if "insight_progress_timestamp" not in line and "jobs_total" not in line)

    assert promtool_check(page) == (0, "")
    assert promtool_check(text)[0] in (0, 3)


def test_the_age_of_a_progress_goes_on_while_nothing_is_sent(busy_bus):
    def age():
        return next(v for (name, _), v in busy_bus.scrape().items() if name == "insight_progress_age_seconds")

    first = age()
    assert 5 <= first < 5 + 20 * PATIENCE
    wait_until(lambda: age() > first + 0.2)


def test_nobody_can_publish_a_metric_of_the_bus_s_own_name(bus):
    with ShortPublisher(bus.tcp) as publisher:
        publisher.send_all(met=[gauge("insight_publishers", 99), counter("insight_sink_retries", 99), counter("good_total", 1)])
        bus.wait_value("good_total", 1)

    assert bus.value("insight_publishers") is None
    assert bus.value("insight_sink_retries_total") is None
    assert promtool_check(bus.metrics_text())[0] in (0, 3)


@pytest.mark.sanitize
def test_each_publisher_is_shown_with_what_it_said_and_sent(busy_bus):
    [publisher] = busy_bus.api("publishers")["publishers"]

    assert publisher["state"] == "alive"
    assert publisher["resource"]["run"] == "r1" and publisher["resource"]["rank"] == 0
    assert (publisher["points"], publisher["spans"], publisher["series"]) == (2, 1, 2)
    assert publisher["highest_seq"] == 2 and publisher["sequence_gaps"] == 0
    labels = {"publisher": publisher["incarnation"], "run": "r1", "role": "trainer", "rank": "0", "host": "node7"}
    assert busy_bus.value("insight_publisher_up", **labels) == 1
    assert busy_bus.value("insight_publisher_ended", **labels) == 0


@pytest.mark.sanitize
def test_a_bye_shows_as_ended_at_once_with_everything_durable(bus):
    with ShortPublisher(bus.tcp) as publisher:
        publisher.send_all(met=[counter("jobs_total", 7)])
        publisher.bye()
        wait_until(lambda: bus.publishers().get(publisher.incarnation, {}).get("state") == "ended")
        # No scrape was answered that could have written the snapshot.
        bus.restart()

        assert bus.value("jobs_total") == 7
        # What the Ledger saved last may be of before the publisher came.
        assert bus.publishers().get(publisher.incarnation, {"state": "ended"})["state"] == "ended"


def test_an_end_that_no_sink_has_seen_is_not_shown_as_one_after_a_kill(bus):
    with ShortPublisher(bus.tcp) as publisher:
        publisher.send_all(met=[counter("jobs_total", 7)])
        publisher.bye()
        wait_until(lambda: bus.value("insight_publishers", state="ended") == 1)
        bus.stop()
        (bus.state / "ended.ids").unlink()  # as if the broker had been killed before anybody asked
        bus.start()

        assert bus.publishers()[publisher.incarnation]["state"] == "lost"


@pytest.mark.sanitize
def test_while_a_sink_hangs_an_end_waits_and_metrics_do_not(new_bus):
    bus = new_bus(extra='\n[sinks.slow]\ntype = "null"\ndelay = "1h"\n', env=LEAVES_THREADS).start()
    with ShortPublisher(bus.tcp) as publisher:
        publisher.send_all(met=[counter("jobs_total", 7)])
        publisher.bye()
        wait_until(lambda: bus.value("insight_publishers", state="ended") == 1)

        assert bus.publishers()[publisher.incarnation]["state"] == "alive"
        began = time.monotonic()
        for _ in range(5):
            bus.publishers()
            assert bus.value("jobs_total") == 7
        assert time.monotonic() - began < 5 * PATIENCE
    bus.process.send_signal(15)
    bus.process.send_signal(15)
    assert bus.process.wait(20) in (0, 130)


def test_publishers_are_filtered_and_limited(bus):
    with ShortPublisher(bus.tcp) as one, ShortPublisher(bus.tcp) as two:
        one.send_all(met=[counter("jobs_total", 1)])
        two.send_all(met=[counter("jobs_total", 1)])
        two.bye()
        wait_until(lambda: bus.api("publishers")["states"]["ended"] == 1)

    assert [p["incarnation"] for p in bus.api("publishers?state=alive")["publishers"]] == [one.incarnation]
    assert [p["incarnation"] for p in bus.api("publishers?state=ended")["publishers"]] == [two.incarnation]
    limited = bus.api("publishers?limit=1")
    assert limited["matched"] == 2 and len(limited["publishers"]) == 1
    assert bus.get("/api/v1/publishers?state=dead")[0] == 400


def test_who_disagrees_and_who_goes_over_a_limit_is_named(new_bus):
    bus = new_bus(extra="\n[limits]\nseries_per_metric = 10\n").start()
    with ShortPublisher(bus.tcp, resource={"service.name": "one"}) as one, \
            ShortPublisher(bus.tcp, resource={"service.name": "two"}) as two:
        one.send_all(met=[counter("thing_total", 1)])
        bus.wait_value("thing_total", 1)
        two.send_all(met=[gauge("thing_total", 5), *[counter("wild_total", 1, i=str(i)) for i in range(50)]])
        wait_until(lambda: bus.api("series")["refusals"] and bus.api("series")["offenders"])
        series = bus.api("series")

        [refusal] = series["refusals"]
        assert refusal["metric"] == "thing_total" and refusal["reason"] == "conflict"
        assert "one" in refusal["first"] and "two" in refusal["second"]
        offender = next(o for o in series["offenders"] if o["metric"] == "wild_total")
        assert offender["publisher"] == two.incarnation and offender["points_dropped"] == 40
        screen = bus.ctl("status").stdout
        assert "wild_total" in screen and "thing_total: conflict" in screen
        assert "declared before by one" in screen and "points of two" in screen


def test_methods_and_paths(bus):
    assert bus.get("/healthz")[2] == b"ok\n"
    assert bus.get("/readyz")[2] == b"ready\n"
    assert bus.get("/nothing")[0] == 404
    status, headers, _ = bus.get("/metrics", method="POST")
    assert status == 405 and headers["Allow"] == "GET, HEAD"
    status, headers, body = bus.get("/metrics", method="HEAD")
    assert status == 200 and body == b"" and int(headers["Content-Length"]) > 1000
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    one, two = bus.api("status"), __import__("json").loads(bus.get("/status")[2])
    for status in (one, two):
        del status["uptime_seconds"], status["cpu_seconds"]
    assert one == two


@pytest.mark.sanitize
def test_slow_and_silent_clients_do_not_delay_a_scrape(bus):
    """Acceptance 12, the part of the scrape client."""
    with ShortPublisher(bus.tcp, hwm=100) as publisher:
        for i in range(20):
            publisher.send_all(met=[[family("wide_total", "counter", ["a", "b"]),
                                     [point(1, str(i), f"{j}-" + "x" * 200) for j in range(1000)]]])
        wait_until(lambda: len(bus.metrics_text()) > 4_000_000, 20)
    slow = [socket.create_connection(("127.0.0.1", bus.http_port)) for _ in range(8)]
    for client in slow:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")  # several MB that nobody reads
    silent = [socket.create_connection(("127.0.0.1", bus.http_port)) for _ in range(50)]
    for client in silent[:25]:
        client.sendall(b"GET /met")
    try:
        for _ in range(5):
            began = time.monotonic()
            assert bus.get("/healthz")[0] == 200
            assert bus.get("/metrics")[0] == 200
            assert time.monotonic() - began < 2 * PATIENCE
    finally:
        for client in slow + silent:
            client.close()
