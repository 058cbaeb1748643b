# SPDX-License-Identifier: Apache-2.0
"""Many at once: publishers, threads, publishers that come and go, label values without end."""
import time

import pytest
import zmq
from bus import FULL, key, promtool_check, rss_anon, wait_until
from short_publisher import ShortPublisher, counter, family, gauge, point
from workload import Workload

PUBLISHERS = 64
COMING_AND_GOING = 10_000
LABEL_VALUES = 1_000_000 if FULL else 150_000
LIMIT = 20_000  # series of one publisher


def send(publisher, **body):
    """Sends as soon as there is room, without the pauses of wait_until()."""
    while not publisher.send(**body):
        assert publisher.socket.poll(30_000, zmq.POLLOUT), "the broker takes nothing"


def states(bus):
    return bus.api("status")["publishers"]


@pytest.mark.alone
def test_64_publishers_at_once_with_threads_that_come_and_go_are_counted_exactly(bus, resources):
    workloads = [resources.enter_context(Workload(bus.ipc if n % 2 else bus.tcp)) for n in range(PUBLISHERS)]
    for command in [*["threads 8 repeat 25 counter churned_total 1"] * 5, "counter own_total 7 thread=main"]:
        for workload in workloads:
            workload.send(command)
        for workload in workloads:
            workload.answer(60)
    bus.wait_value("churned_total", PUBLISHERS * 5 * 8 * 25, timeout=30)
    assert states(bus)["alive"] == PUBLISHERS

    for workload in workloads:
        workload.popen.stdin.close()
    for workload in workloads:
        assert workload.wait(30) == 0

    wait_until(lambda: states(bus)["ended"] == PUBLISHERS, 30, "all have said bye")
    scrape = bus.scrape()
    assert scrape[key("churned_total")] == PUBLISHERS * 5 * 8 * 25
    assert scrape[key("own_total", thread="main")] == PUBLISHERS * 7
    assert all(p["sequence_gaps"] == 0 for p in bus.publishers().values())
    assert bus.api("status")["collectors"][0]["refused"] == {}


@pytest.mark.alone
def test_ten_thousand_publishers_that_come_and_go_leave_memory_bounded_and_the_page_valid(bus, resources):
    honest = resources.enter_context(ShortPublisher(bus.tcp, {"role": "honest"}))
    crowd = resources.enter_context(ShortPublisher(bus.tcp, linger_ms=10_000))
    start, memory = time.monotonic(), []
    for n in range(1, COMING_AND_GOING + 1):
        # A new incarnation on the old connection: to the broker it is another process.
        crowd.inc, crowd.seq, crowd.resource = n.to_bytes(16, "big"), 0, {"service.name": "crowd", "process.pid": n}
        send(crowd, met=[counter("crowd_total", 1), counter("crowd_by_route_total", 2, route="/v1"),
                         gauge("crowd_depth", n, merge="sum")])
        if n % 3:  # every third is killed
            send(crowd, life="bye")
        if n % 1_000 == 0:
            send(honest, met=[counter("honest_total", n)])
            memory.append(rss_anon(bus.pid))

    bus.wait_value("crowd_total", COMING_AND_GOING, timeout=30)
    bus.wait_value("honest_total", COMING_AND_GOING, role="honest")
    assert bus.value("crowd_by_route_total", route="/v1") == 2 * COMING_AND_GOING
    counts = states(bus)
    assert sum(counts.values()) == COMING_AND_GOING + 1
    assert counts["ended"] == sum(1 for n in range(1, COMING_AND_GOING + 1) if n % 3)
    assert promtool_check(bus.metrics_text())[0] != 1
    each = (memory[-1] - memory[0]) / (COMING_AND_GOING * 0.9)
    assert each < 16_000, f"{each:.0f} B a publisher"
    print(f"{COMING_AND_GOING / (time.monotonic() - start):.0f} publishers/s; {each:.0f} B for each that was there")
    assert bus.stop() == 0


@pytest.mark.alone
def test_label_values_without_end_are_bounded_and_named_and_hurt_no_other_series(new_bus, resources):
    bus = new_bus(extra=f"\n[limits]\nseries_per_publisher = {LIMIT}\n").start()
    honest = resources.enter_context(ShortPublisher(bus.tcp, {"role": "honest"}))
    runaway = resources.enter_context(ShortPublisher(bus.tcp, {"role": "runaway"}))
    requests = family("requests_total", "counter", ["request"])
    rounds, memory = 0, []
    for first in range(0, LABEL_VALUES, 1_000):
        send(runaway, met=[counter("steady_total", first + 1_000),
                            [requests, [point(1, f"request-{n}") for n in range(first, first + 1_000)]]])
        rounds += 1
        send(honest, met=[counter("honest_total", rounds)])
        if first >= LIMIT:
            memory.append(rss_anon(bus.pid))

    bus.wait_value("honest_total", rounds, role="honest", timeout=60)
    bus.wait_value("steady_total", LABEL_VALUES, role="runaway", timeout=60)
    scrape = bus.scrape()
    kept = [k for k in scrape if k[0] == "requests_total"]
    assert len(kept) == LIMIT - 1  # and steady_total
    collector = bus.api("status")["collectors"][0]
    assert collector["dropped"] == {"cardinality": LABEL_VALUES - len(kept)}
    offender = bus.api("status")["series"]["offenders"][0]
    assert (offender["metric"], offender["limit"]) == ("requests_total", "series_per_publisher")
    assert offender["publisher"] == runaway.incarnation
    assert offender["points_dropped"] == LABEL_VALUES - len(kept)
    settled = memory[len(memory) // 2]
    assert max(memory) < settled + (16 << 20), [m >> 20 for m in memory[:: max(1, len(memory) // 20)]]
    print(f"memory {memory[0] >> 20} MiB at the limit, {max(memory) >> 20} MiB at most")
