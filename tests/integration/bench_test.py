# SPDX-License-Identifier: Apache-2.0
"""insightctl bench: what it finds is what the bus itself counts, and it leaves nothing behind."""
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import threading
import time

import pytest
from bus import INSIGHTCTL, PATIENCE, Bus, Process, free_port, key, wait_until
from short_publisher import ShortPublisher, counter

NULL = Bus.HEAD + """
[sinks.null]
"""


def bench(*arguments, env=None):
    return subprocess.run([INSIGHTCTL, "bench", *arguments], capture_output=True, text=True, timeout=300 * PATIENCE,
                          env={**os.environ, "INSIGHT_HTTP": "", **(env or {})})


def balance(measured):
    """Every sink: what was recorded, and what became of it."""
    recorded = measured["recorded"] + measured["recorded_by_others"]
    for sink in measured["sinks"]:
        places = sum(measured["dropped"].values()) + sum(sink["dropped"].values())
        yield recorded, sink["delivered"] + places + sink["in_flight"] + sink["not_asked_for"]


class Watch(threading.Thread):
    """The measurement from outside: reads the bus's own counters and the kernel's, over and over."""

    def __init__(self, bus):
        super().__init__()
        self.bus, self.done, self.seen = bus, threading.Event(), []

    def run(self):
        while not self.done.wait(0.05):
            values, at = self.bus.scrape(), time.time()
            records = sum(v for (name, _), v in values.items() if name == "insight_bus_records_delivered_total")
            fields = pathlib.Path(f"/proc/{self.bus.pid}/stat").read_text().rpartition(")")[2].split()
            self.seen.append((at, records, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")))

    def rates(self, began, seconds):
        """(records a second, CPU seconds a record) between two moments, between two looks each."""
        def at(moment):
            after = next(i for i, look in enumerate(self.seen) if look[0] >= moment)
            (t0, *before), (t1, *then) = self.seen[after - 1], self.seen[after]
            share = (moment - t0) / (t1 - t0)
            return [a + (b - a) * share for a, b in zip(before, then)]

        (r0, c0), (r1, c1) = at(began), at(began + seconds)
        return (r1 - r0) / seconds, (c1 - c0) / (r1 - r0)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.join()


@pytest.mark.alone
def test_the_limit_is_what_the_bus_itself_counted_in_that_time(new_bus):
    bus = new_bus(config=NULL).start()
    with Watch(bus) as watch:
        done = bus.ctl("bench", "--seconds", "5", "--json")
        found = json.loads(done.stdout)
        measured = found["measured"]
        wait_until(lambda: watch.seen[-1][0] > measured["began"] + measured["seconds"], what="one more look")

    rate, cpu = watch.rates(measured["began"], measured["seconds"])
    assert done.returncode == 0, done.stderr
    assert found["limit"] == measured["throughput"] and found["limited_by"] in ("bus", "publishers")
    assert abs(rate / found["limit"] - 1) < 0.1
    assert abs(cpu * 1e9 / measured["cpu_ns_per_record"]["broker"] - 1) < 0.1
    assert measured["adds_up"]
    # Beyond the limit something gives way, and it is said what.
    assert any(step["overload"] for step in found["steps"])
    for recorded, found_again in balance(measured):
        assert recorded == found_again


def test_a_load_of_a_given_rate_arrives_and_adds_up(new_bus):
    bus = new_bus(config=NULL).start()
    with ShortPublisher(bus.tcp) as other:
        done = bus.ctl("bench", "--rate", "5000", "--seconds", "1", "--publishers", "2", "--json", "--mix", "counter=3,span=1")
        other.send_all(met=[counter("jobs_total", 1)])
    measured = json.loads(done.stdout)["measured"]

    assert measured["adds_up"]
    for recorded, found_again in balance(measured):
        assert recorded == found_again and recorded > 0
    assert measured["cpu_ns_per_record"]["broker"] > 0
    assert measured["sinks"][0]["latency_seconds"]["p99"] is not None
    spans = sum(p["spans"] for p in bus.publishers().values() if p["resource"]["service.name"] == "insight-bench")
    assert 0.2 < spans / measured["recorded"] < 0.3
    assert "insight_bench_*" in done.stderr and "of its sinks" in done.stderr


def test_records_that_a_slow_sink_drops_are_told_by_place(new_bus):
    bus = new_bus(config=NULL + 'delay = "1s"\nqueue = { bytes = "64KiB" }\n').start()
    done = bus.ctl("bench", "--rate", "20000", "--seconds", "1", "--json")
    measured = json.loads(done.stdout)["measured"]

    assert done.returncode == 1
    assert measured["sinks"][0]["dropped"]["queue"] > 0
    assert measured["adds_up"]
    for recorded, found_again in balance(measured):
        assert recorded == found_again


def test_the_report_is_for_people_too(new_bus):
    bus = new_bus(config=NULL).start()
    done = bus.ctl("bench", "--rate", "2000", "--seconds", "0.5")

    assert re.search(r"^reached +[\d,]+ records/s of 2,000 records/s$", done.stdout, re.M)
    assert re.search(r"^cpu +a record: [\d,]+ ns in the broker, [\d,]+ ns in the publishers$", done.stdout, re.M)
    assert re.search(r"^null +\S+\.\.\S+ +\S+\.\.\S+ +\S+\.\.\S+$", done.stdout, re.M)
    assert "null: recorded = delivered + lost + in flight" in done.stdout


def test_a_bus_of_others_is_not_driven_to_its_limit(new_bus):
    bus = new_bus(config=NULL).start()
    with ShortPublisher(bus.tcp) as publisher:
        publisher.send_all(met=[counter("jobs_total", 1)])
        wait_until(lambda: bus.publishers())
        done = bus.ctl("bench")

    assert done.returncode == 2
    assert "--own" in done.stderr and "--rate" in done.stderr and done.stdout == ""


def test_the_series_of_bench_are_few_and_marked(bus):
    for _ in range(2):
        assert bus.ctl("bench", "--rate", "20000", "--seconds", "0.5").returncode in (0, 1)
    names = [(name, dict(labels)) for name, labels in bus.scrape() if not name.startswith("insight_") or name.startswith("insight_bench_")]

    assert 0 < len({(name, labels["slot"]) for name, labels in names if not name.endswith("_bucket")}) <= 1200
    assert all(name.startswith("insight_bench_") and labels["run"] == "insight-bench" for name, labels in names)


def command_of(process):
    try:
        return (process / "cmdline").read_bytes()
    except OSError:  # it ended since it was listed
        return b""


def children_in(directory):
    return [p for p in pathlib.Path("/proc").glob("[0-9]*") if str(directory).encode() in command_of(p)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_bus_of_its_own_is_removed_also_when_bench_is_stopped(number, tmp_path):
    with tempfile.TemporaryDirectory(prefix="insight-") as directory:
        process = Process([INSIGHTCTL, "bench", "--own", "--rate", "1000", "--seconds", "600"], tmp_path / "log",
                          {"TMPDIR": directory})
        with process:
            wait_until(lambda: list(pathlib.Path(directory).glob("*/bus.ipc")), 20)
            wait_until(lambda: children_in(directory))
            assert process.stop(number, 20) == 0
            assert "stopped before the end: there is no result" in process.log
        assert os.listdir(directory) == []
        assert children_in(directory) == []


def test_a_killed_bench_takes_its_bus_with_it(tmp_path):
    with tempfile.TemporaryDirectory(prefix="insight-") as directory:
        with Process([INSIGHTCTL, "bench", "--own", "--rate", "1000", "--seconds", "600"], tmp_path / "log",
                     {"TMPDIR": directory}) as process:
            wait_until(lambda: children_in(directory), 20)
            process.kill()
            wait_until(lambda: not children_in(directory), 10)


def started_bench(bus, tmp_path):
    process = Process([INSIGHTCTL, "bench", "--rate", "1000", "--seconds", "600"], tmp_path / "log", {"INSIGHT_HTTP": bus.http})
    wait_until(lambda: bus.scrape().get(key("insight_bus_records_received_total", collector="bus", signal="metrics"), 0) > 0, 20)
    return process


def test_a_broker_that_dies_in_the_middle_is_told_in_one_line(new_bus, tmp_path):
    bus = new_bus(config=NULL).start()
    with started_bench(bus, tmp_path) as process:
        bus.kill()
        assert process.wait(30) == 3
    assert f"the broker at {bus.http} went away while it was measured" in process.log.splitlines()[-1]


def test_a_broker_that_starts_anew_in_the_middle_spoils_the_measurement(new_bus, tmp_path):
    bus = new_bus(config=NULL).start()
    with started_bench(bus, tmp_path) as process:
        process.pause()
        bus.restart()
        process.resume()
        assert process.wait(60) == 3
    last = process.log.splitlines()[-1]
    assert "anew while it was measured" in last or "went away" in last


def test_no_broker_and_wrong_use():
    port = free_port()
    done = bench("--http", f"127.0.0.1:{port}", "--rate", "1")
    assert (done.returncode, done.stdout) == (3, "") and "no broker answers" in done.stderr
    for arguments, says in [(["--mix", "countr=1"], 'did you mean "counter"?'), (["--mix", "counter=x"], "a whole number"),
                            (["--mix", "span=0"], "expected shares such as"), (["--publishers", "0"], "expected 1 to 64"),
                            (["--seconds", "0"], "expected 0.1 to 3600"), (["--own", "--endpoint", "tcp://127.0.0.1:1"], "neither"),
                            (["--rate", "9999999999"], "at most")]:
        done = bench(*arguments)
        assert (done.returncode, done.stdout) == (2, "") and says in done.stderr, arguments


def test_an_endpoint_where_nobody_listens(new_bus):
    bus = new_bus(config=NULL).start()
    done = bus.ctl("bench", "--rate", "100", "--endpoint", f"tcp://127.0.0.1:{free_port()}")

    assert done.returncode == 3 and "nothing takes records at" in done.stderr


def test_an_endpoint_of_another_bus(new_bus):
    bus, other = new_bus(config=NULL).start(), new_bus(config=NULL).start()
    done = bus.ctl("bench", "--rate", "100", "--endpoint", other.tcp)

    assert (done.returncode, done.stdout) == (2, "")
    assert f"is not the bus that answers at {bus.http}" in done.stderr
