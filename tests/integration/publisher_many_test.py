# SPDX-License-Identifier: Apache-2.0
"""Many publishers at once, and threads that come and go in each."""
from bus import wait_until
from workload import Workload

PUBLISHERS = 64
THREADS = 8
ROUNDS = 5
TURNS = 10


def test_64_publishers_whose_threads_come_and_go_are_counted_exactly(bus, resources):
    endpoints = [bus.tcp, bus.ipc]
    workloads = [resources.enter_context(Workload(endpoints[i % 2])) for i in range(PUBLISHERS)]
    for workload in workloads:
        workload.send(f"repeat {ROUNDS} threads {THREADS} repeat {TURNS} "
                      "counter jobs_total 1 ; histogram job_seconds 0.2 ; span job lane-{t}")
    for workload in workloads:
        workload.answer()
        workload.popen.stdin.close()

    wait_until(lambda: [p["state"] for p in bus.publishers().values()] == ["ended"] * PUBLISHERS, 60, "all have ended")
    assert [workload.wait() for workload in workloads] == [0] * PUBLISHERS
    total = PUBLISHERS * ROUNDS * THREADS * TURNS
    bus.wait_value("jobs_total", total)
    bus.wait_value("job_seconds_count", total)
    assert all(p["sequence_gaps"] == 0 and p["spans_lost"] == 0 for p in bus.publishers().values())
    wait_until(lambda: sum(r["type"] == "span" for r in bus.records()) == total, 20, "all spans are in the file")
