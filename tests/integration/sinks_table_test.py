# SPDX-License-Identifier: Apache-2.0
"""What a sink's table leaves out, renames, labels and scales: in /metrics, over a kill of the broker, and in the books."""
import random

import pytest
from bus import Bus, key, wait_until
from short_publisher import ShortPublisher, counter, family, gauge, histogram, point, span

CONFIG = Bus.HEAD + """
[sinks.prometheus]
include = ["t_*"]
exclude = ["t_debug_*"]
rename = { t_old_total = "t_new_total", t_clash = "t_jobs_total", t_wait_ms = "t_wait_seconds" }
labels = { cluster = "c1", shard = "", rank = "" }
scale = { "*_ms" = 0.001 }

[sinks.file]
include = ["step", "u_*"]
"""


def books(bus):
    """Per sink: what came and what became of it; they must be equal whenever nothing is on its way."""
    def total(counts):
        return sum(counts.values())

    out = {}
    for sink in bus.api("status")["sinks"]:
        dropped = sum(total(reasons) for reasons in sink["dropped"].values())
        known = total(sink["delivered"]) + total(sink["filtered"]) + dropped + total(sink["queue_records"])
        out[sink["name"]] = total(sink["received"]), known, total(sink["filtered"])
    return out


def jobs(n):
    shards = [point(n * weight, str(shard)) for shard, weight in enumerate((1, 10, 100))]
    return [family("t_jobs_total", "counter", ["shard"]), shards]


@pytest.mark.sanitize
def test_a_table_shapes_what_a_sink_shows(new_bus):
    bus = new_bus(config=CONFIG).start()
    with ShortPublisher(bus.tcp, resource={"run": "r", "rank": 3}) as one, ShortPublisher(bus.tcp, resource={"run": "r"}) as two:
        one.send_all(met=[
            jobs(2), counter("t_old_total", 7), counter("t_debug_total", 1), counter("u_other_total", 5),
            histogram("t_wait_ms", [100, 1000], [50, 150, 5000], unit="ms"), gauge("t_level", 1.5)])
        one.send_all(met=[gauge("t_clash", 1.0)])
        one.send_all(spn=[span("step"), span("noise")])
        two.send_all(met=[jobs(1), gauge("t_clash", 1.0)])
        bus.wait_value("t_jobs_total", 333, run="r", cluster="c1")

        label = {"run": "r", "cluster": "c1"}
        expected = {
            key("t_jobs_total", **label): 333, key("t_new_total", **label): 7, key("t_level", **label): 1.5,
            key("t_wait_seconds_bucket", **label, le="0.1"): 1, key("t_wait_seconds_bucket", **label, le="1"): 2,
            key("t_wait_seconds_bucket", **label, le="+Inf"): 3, key("t_wait_seconds_count", **label): 3,
            key("t_wait_seconds_sum", **label): 5.2,
        }
        wait_until(lambda: bus.value("t_wait_seconds_count", **label) == 3, 10)
        assert {k: v for k, v in bus.scrape().items() if not k[0].startswith("insight_")} == pytest.approx(expected)
        wait_until(lambda: all(came == known for came, known, _ in books(bus).values()), 10, "the books balance")
        # Of 13 points two are left out; of two spans and 13 points the file takes one of each.
        assert {name: (came, filtered) for name, (came, _, filtered) in books(bus).items()} == {"prometheus": (13, 2), "file": (15, 13)}
        sink, = (s for s in bus.api("status")["sinks"] if s["name"] == "prometheus")
        assert sink["dropped"]["metrics"] == {"conflict": 2}
        assert bus.value("insight_bus_records_filtered_total", sink="prometheus", signal="metrics") == 2
        assert bus.value("insight_bus_records_filtered_total", sink="file", signal="spans") == 1
        assert "prometheus leaves out by its table: 2" in bus.ctl("status").stdout
        assert sorted(r["name"] for r in bus.records()) == ["step", "u_other_total"]

        bus.restart()
        assert bus.value("t_jobs_total", run="r", cluster="c1") == 333
        one.send_all(met=[jobs(3)])
        two.send_all(met=[jobs(1)])
        bus.wait_value("t_jobs_total", 444, run="r", cluster="c1")


RECORDING = """
[sinks.recording]
type = "file"
format = "envelope"
rotate.bytes = "64KiB"
rotate.keep = 1000
rotate.compress = "zstd"
"""


def test_kills_while_files_are_compressed_leave_each_record_once(new_bus):
    config = Bus.HEAD + RECORDING
    bus = new_bus(config=config).start()
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    last = 0
    with ShortPublisher(bus.ipc) as publisher:
        for _ in range(5):
            first = last + 1
            for last in range(first, first + chance.randrange(100, 900)):
                publisher.send_all(met=[counter("padded_total", last, help=chance.randbytes(300).hex())])

            def has_all():
                sink, = bus.api("status")["sinks"]
                return sink["delivered"]["metrics"] == last - first + 1

            wait_until(has_all, 20, "all of it is written")
            bus.restart()
    assert bus.stop() == 0
    files = sorted(p for p in (bus.state / "telemetry").iterdir() if p.suffix != ".lock")
    assert any(p.suffix == ".zst" for p in files) and not any(p.suffix == ".tmp" for p in files)

    fresh = new_bus(config=config).start()
    done = fresh.ctl("replay", "--speed", "max", "--endpoint", fresh.ipc, *map(str, files))

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    view, = wait_until(lambda: [p for p in fresh.api("publishers")["publishers"] if p["state"] == "ended"], 10)
    assert (view["envelopes"], view["sequence_gaps"], view["duplicates"]) == (last + 1, 0, 0)
