# SPDX-License-Identifier: Apache-2.0
"""More spans than a sink can take: no counter suffers, and each span is either delivered or counted where it was lost."""
import pytest
from bus import FULL, key, wait_until
from workload import Workload

ROUNDS = 40 if FULL else 8
SPANS_A_ROUND = 20_000
THREADS = 2

CONFIG = """
[broker]
state_dir = "{state}"
stop_timeout = "10s"

[http]
listen = "127.0.0.1:{http}"

[collectors.bus]
type = "zmq"
endpoints = ["tcp://127.0.0.1:{tcp}"]

[sinks.prometheus]

[sinks.file]
directory = "{state}/telemetry"
rotate = { bytes = "512MiB", keep = 2 }

[sinks.slow]
type = "null"
delay = "500ms"
queue = { bytes = "1MiB" }
"""


def sink(bus, name):
    return next(s for s in bus.api("status")["sinks"] if s["name"] == name)


def spans_by_place(bus, publisher, name):
    """What a sink's status and the publisher's own account say of all spans."""
    state = sink(bus, name)
    dropped_at_publisher = sum(n for reason, n in publisher["accounts"].items() if reason.startswith("drop.span"))
    collector = bus.api("status")["collectors"][0]
    return {
        "publisher": dropped_at_publisher,
        "transport": publisher["spans_lost"],
        "ingress": publisher["spans"] - state["received"]["spans"],
        "queue": sum(state["dropped"]["spans"].values()) + state["queue_records"]["spans"],
        "delivered": state["delivered"]["spans"],
    }, collector


@pytest.mark.alone
def test_a_flood_of_spans_drops_no_counter_and_every_span_is_accounted_for(new_bus, resources):
    bus = new_bus(config=CONFIG).start()
    workload = resources.enter_context(Workload(bus.tcp))
    workload.tell("connected 10")

    for _ in range(ROUNDS):
        workload.tell(f"threads {THREADS} repeat {SPANS_A_ROUND // THREADS} span decode lane_{{t}} step=1", timeout=120)
        workload.tell("threads 2 repeat 500 counter flood_jobs_total 1 worker={t}")
        workload.counter("flood_rounds_total", 1)
        assert bus.metrics_text()  # a scrape in the middle of it
    workload.tell("close 10000")
    pid = workload.pid

    def the_publisher():
        return next((p for p in bus.publishers().values() if p["resource"]["process.pid"] == pid), None)

    recorded = ROUNDS * SPANS_A_ROUND
    wait_until(lambda: (the_publisher() or {}).get("state") == "ended", 60, "the publisher has ended", interval=0.2)
    scraped = bus.scrape()
    for worker in ("0", "1"):
        assert scraped[key("flood_jobs_total", worker=worker)] == 500 * ROUNDS
    assert scraped[key("flood_rounds_total")] == ROUNDS

    publisher = the_publisher()
    assert publisher["accounts"]["spans"] == recorded
    for name in ("file", "slow"):
        places, collector = spans_by_place(bus, publisher, name)
        print(name, places)
        assert sum(places.values()) == recorded, (name, places, collector)
        assert places["ingress"] == 0 and collector["dropped"] == {}, collector
    slow = spans_by_place(bus, publisher, "slow")[0]
    assert slow["delivered"] * 10 <= recorded, slow  # else it was no flood
    assert slow["queue"] > 0

    # What the bus says of itself is the same.
    for name in ("file", "slow"):
        status = sink(bus, name)
        assert bus.value("insight_bus_records_delivered_total", sink=name, signal="spans") == status["delivered"]["spans"]
    full = sum(n for labels, n in bus.scrape().items() if labels[0] == "insight_bus_records_dropped_total"
               and dict(labels[1]).get("sink") == "slow" and dict(labels[1])["reason"] == "queue_full")
    assert full == sum(s.get("queue_full", 0) for s in sink(bus, "slow")["dropped"].values())

    # The file has each delivered span once; metrics reached the slow sink in spite of the flood.
    lines = [line for line in bus.records() if line["type"] == "span"]
    assert len(lines) == len({line["span_id"] for line in lines}) == sink(bus, "file")["delivered"]["spans"]
    assert sink(bus, "slow")["delivered"]["metrics"] > 0
    assert bus.stop(timeout=15) == 0
