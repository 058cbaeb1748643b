# SPDX-License-Identifier: Apache-2.0
"""A sink on a full disk, and one that hangs: nothing changes for publishers, /metrics, other files and the stop."""
import collections
import json
import os
import statistics
import subprocess
import time

import pytest
from bus import FULL, PATIENCE, key, wait_until
from workload import Workload

HANG = "60s" if FULL else "10s"
STOP_TIMEOUT = 5

CONFIG = """
[broker]
state_dir = "{state}"
stop_timeout = "5s"

[http]
listen = "127.0.0.1:{http}"

[collectors.bus]
type = "zmq"
endpoints = ["tcp://127.0.0.1:{tcp}"]

[sinks.prometheus]

[sinks.file]
directory = "{state}/telemetry"
"""


def sink(bus, name):
    return next(s for s in bus.api("status")["sinks"] if s["name"] == name)


def call_seconds(workload, blocks=50):
    """How long each block of 1,000 calls takes a publisher."""
    times = []
    for _ in range(blocks):
        start = time.monotonic()
        workload.tell("repeat 1000 counter trouble_calls_total 1")
        times.append(time.monotonic() - start)
    return times


def scrape_seconds(bus, turns=20):
    times = []
    for _ in range(turns):
        start = time.monotonic()
        bus.metrics_text()
        times.append(time.monotonic() - start)
    return times


def assert_nothing_changed(bus, workload, before):
    """Calls and scrapes take what they took before, and the newest value of everything comes through at once."""
    calls, scrapes = call_seconds(workload), scrape_seconds(bus)
    assert statistics.median(calls) < 5 * statistics.median(before["calls"]) + 0.005
    assert statistics.median(scrapes) < 5 * statistics.median(before["scrapes"]) + 0.05
    before["total"] += 1000 * len(calls)
    bus.wait_value("trouble_calls_total", before["total"], timeout=5)
    file_spans = spans_in(bus.state / "telemetry")
    workload.span("after", "lane")
    wait_until(lambda: spans_in(bus.state / "telemetry") == file_spans + 1, 5, "the other file goes on")


def healthy(bus, workload):
    workload.tell("connected 10")
    times = {"calls": call_seconds(workload), "scrapes": scrape_seconds(bus), "total": 50_000}
    bus.wait_value("trouble_calls_total", times["total"], timeout=5)
    return times


def spans_in(directory):
    return sum(line["type"] == "span" for line in lines_in(directory))


def lines_in(directory):
    return [json.loads(line) for path in sorted(directory.glob("*.jsonl")) for line in path.read_text().splitlines()]


def assert_stops_in_time(bus):
    start = time.monotonic()
    assert bus.stop(timeout=30) == 0, bus.log[-3000:]
    assert time.monotonic() - start < STOP_TIMEOUT * PATIENCE + 1


@pytest.fixture
def small_disk(tmp_path):
    """A directory on a disk of 1 MiB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("this process may not mount a disk of its own")
    yield directory
    subprocess.run(["umount", "-l", str(directory)], check=True)


def bus_on(new_bus, small_disk, rotate):
    return new_bus(config=CONFIG + f"""
[sinks.full]
type = "file"
directory = "{small_disk}"
rotate = {rotate}
retry = {{ initial = "100ms", max = "500ms" }}
""").start()


def fill(workload, spans=5_000):
    """About 350 bytes a span, in portions that the publisher's buffer holds."""
    for _ in range(spans // 1_000):
        workload.tell("repeat 1000 span filling lane step=1")
        wait_until(lambda: (s := workload.status())["spans_sent"] == s["spans"], 10, "all spans are sent")
    assert workload.status()["drops"] == {}


@pytest.mark.sanitize
def test_a_full_disk_holds_up_nobody_else_and_what_waited_is_written_when_there_is_room(new_bus, resources, small_disk):
    bus = bus_on(new_bus, small_disk, '{ bytes = "64MiB", keep = 4 }')
    workload = resources.enter_context(Workload(bus.tcp))
    before = healthy(bus, workload)

    fill(workload)
    wait_until(lambda: not sink(bus, "full")["up"], 10, "the disk is full")

    assert_nothing_changed(bus, workload, before)
    full = sink(bus, "full")
    assert "No space left" in full["last_error"]
    assert bus.value("insight_sink_up", sink="full") == 0
    assert bus.value("insight_sink_up", sink="file") == 1
    wait_until(lambda: bus.value("insight_sink_retries_total", sink="full") > full["retries"], 5, "it tries again")
    lines_in(small_disk)  # all of them are whole

    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    wait_until(lambda: (s := sink(bus, "full"))["up"] and s["queue_records"] == {"metrics": 0, "spans": 0}, 20,
               "what waited is written")
    for name, directory in (("full", small_disk), ("file", bus.state / "telemetry")):
        state = sink(bus, name)
        assert sum(state["dropped"]["spans"].values()) == 0
        spans = collections.Counter(line["span_id"] for line in lines_in(directory) if line["type"] == "span")
        assert len(spans) == state["delivered"]["spans"] == 5_001
        assert set(spans.values()) == {1}
    assert_stops_in_time(bus)


def test_a_stop_while_the_disk_is_full_ends_in_time_and_says_what_was_lost(new_bus, resources, small_disk):
    bus = bus_on(new_bus, small_disk, '{ bytes = "64MiB", keep = 4 }')
    workload = resources.enter_context(Workload(bus.tcp))
    workload.tell("connected 10")
    fill(workload)
    wait_until(lambda: not sink(bus, "full")["up"], 10, "the disk is full")

    assert_stops_in_time(bus)

    assert "stopped" in bus.log and "sink full" in bus.log
    lines_in(small_disk)
    assert spans_in(bus.state / "telemetry") == 5_000


def test_a_full_disk_costs_a_rotating_sink_its_oldest_files_only(new_bus, resources, small_disk):
    bus = bus_on(new_bus, small_disk, '{ bytes = "128KiB", keep = 100 }')
    workload = resources.enter_context(Workload(bus.tcp))
    workload.tell("connected 10")

    for i in range(4):
        fill(workload)
        workload.span("last", f"round_{i}")
        wait_until(lambda: sink(bus, "full")["queue_records"]["spans"] == 0 and spans_of_round(bus, i), 20, "all is written")

    state = sink(bus, "full")
    assert state["up"]
    assert state["delivered"]["spans"] == 4 * 5_001
    assert state["figures"]["removed_for_space"] > 0
    names = [line["lane"] for line in lines_in(small_disk) if line["type"] == "span"]
    assert names[-1] == "round_3"
    assert_stops_in_time(bus)


def spans_of_round(bus, i):
    return any(line["type"] == "span" and line["lane"] == f"round_{i}" for line in lines_in(bus.state / "telemetry"))


@pytest.mark.alone
def test_a_sink_that_hangs_holds_up_nobody_else_and_not_the_stop(new_bus, resources):
    calm_bus = new_bus(config=CONFIG).start()
    before = healthy(calm_bus, resources.enter_context(Workload(calm_bus.tcp)))
    assert calm_bus.stop() == 0
    bus = new_bus(config=CONFIG + f"""
[sinks.hanging]
type = "null"
delay = "{HANG}"
""").start()
    workload = resources.enter_context(Workload(bus.tcp))
    workload.tell("connected 10")
    workload.span("first", "lane")
    wait_until(lambda: sink(bus, "hanging")["queue_records"]["spans"] == 1, 10, "it hangs with a batch")
    before["total"] = 0

    start = time.monotonic()
    turns = 0
    while time.monotonic() - start < 2 or (FULL and time.monotonic() - start < 70):
        assert_nothing_changed(bus, workload, before)
        turns += 1

    state = sink(bus, "hanging")
    assert state["received"]["spans"] == turns + 1
    for signal in ("metrics", "spans"):
        assert state["received"][signal] == (
            state["delivered"][signal] + sum(state["dropped"][signal].values()) + state["queue_records"][signal])
    assert_stops_in_time(bus)
    assert "hanging" in bus.log
