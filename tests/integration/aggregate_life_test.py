# SPDX-License-Identifier: Apache-2.0
"""What is shown of publishers that idle while the broker dies, and of publishers that stop for a while."""
import time

import pytest
from bus import PATIENCE, Bus, wait_until
from workload import Workload


@pytest.mark.parametrize("snapshot", ["true", "false"])
def test_a_gauge_set_once_is_back_within_20_s_of_a_kill(new_bus, resources, snapshot):
    bus = new_bus(config=Bus.CONFIG.replace("[sinks.prometheus]", f"[sinks.prometheus]\nsnapshot = {snapshot}")).start()
    publisher = resources.enter_context(Workload(bus.tcp))
    publisher.gauge("level", 42, tank="a")
    publisher.counter("fills", 7)
    bus.wait_value("level", 42, tank="a")
    bus.wait_value("fills_total", 7)

    bus.kill()
    started = time.monotonic()
    bus.start()
    bus.wait_value("level", 42, tank="a", timeout=20)
    bus.wait_value("fills_total", 7, timeout=20)
    assert time.monotonic() - started < 20 * PATIENCE
    # Not only from the snapshot: the publisher is there again and has sent both.
    wait_until(lambda: [p["series"] for p in bus.publishers().values() if p["state"] == "alive"] == [2], 20,
               "the publisher is heard and has sent its two series")
    assert bus.value("level", tank="a") == 42 and bus.value("fills_total") == 7


def test_a_stopped_publisher_loses_its_gauges_and_none_of_its_totals(bus, resources):
    stopped, other = (resources.enter_context(Workload(bus.tcp)) for _ in range(2))
    seen = set()

    def scrape():
        series = bus.scrape()
        value = {name: series.get((name, ())) for name in ("level", "jobs_total", "work_count")}
        seen.add(value["jobs_total"])
        return value

    stopped.counter("jobs", 5)
    stopped.gauge("level", 1)
    stopped.bounds("work", [1, 2])
    stopped.histogram("work", 1.5)
    other.counter("jobs", 100)
    expected = {"level": 1, "jobs_total": 105, "work_count": 1}
    wait_until(lambda: scrape() == expected, 10, "all is shown")
    seen.clear()

    stopped.pause()
    paused = time.monotonic()
    wait_until(lambda: scrape()["level"] is None, 60, "the gauge leaves")
    other.counter("jobs", 10)
    wait_until(lambda: scrape()["jobs_total"] == 115, 10, "the other one is counted")
    # Four beats of 10 s in all.
    wait_until(lambda: scrape() and time.monotonic() - paused > 40, 60, interval=0.5)
    assert scrape() == {"level": None, "jobs_total": 115, "work_count": 1}

    stopped.resume()
    wait_until(lambda: scrape()["level"] == 1, 20, "the gauge returns")
    stopped.counter("jobs", 3)
    stopped.histogram("work", 0.5)
    expected = {"level": 1, "jobs_total": 118, "work_count": 2}
    wait_until(lambda: scrape() == expected, 10, "what came after the stop is counted")
    assert seen <= {105, 115, 118}
    assert {p["state"] for p in bus.publishers().values()} == {"alive"}
