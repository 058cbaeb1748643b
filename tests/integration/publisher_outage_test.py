# SPDX-License-Identifier: Apache-2.0
"""Nobody listens for a while: the program does not notice, and the newest value shows when somebody does."""
import time

import pytest
from bus import FULL, free_port, rss_anon, wait_until
from short_publisher import Receiver
from workload import Workload

SECONDS = 600 if FULL else 60
# A turn is a call on a counter and one on a gauge, together 10,000 a second.
TURNS_PER_SECOND = 5_000
MIB = 1 << 20
LOG_LINE = "nobody listens"


def values(envelope, name):
    return [p[1] for family, points in envelope["met"] for p in points if family[0] == name]


@pytest.mark.alone
@pytest.mark.timeout(SECONDS + 300)
def test_an_outage_costs_one_log_line_and_nothing_old_arrives_after_it(new_bus, resources):
    bus = new_bus()
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    one, other = [resources.enter_context(Workload(e)) for e in (endpoint, bus.tcp)]
    workloads = one, other

    began = time.monotonic()
    for workload in workloads:
        workload.send(f"rate {TURNS_PER_SECOND} {SECONDS} counter calls_total 1 ; gauge depth {{i}}")
    wait_until(lambda: time.monotonic() - began > SECONDS / 6, SECONDS)
    before = [rss_anon(w.popen.pid) for w in workloads]
    for workload in workloads:
        workload.answer(SECONDS * 2)
    after = [rss_anon(w.popen.pid) for w in workloads]

    print(f"memory {[b // 1024 for b in before]} KiB, at the end {[a // 1024 for a in after]} KiB")
    assert all(a - b < MIB / 4 for a, b in zip(after, before))
    assert [w.log.count(LOG_LINE) for w in workloads] == [1, 1]

    # A bare receiver sees every envelope: all were made after it came.
    newest = TURNS_PER_SECOND * SECONDS - 1
    comes = time.time_ns()
    with Receiver(endpoint) as receiver:
        envelopes = [receiver.envelope()]
        while newest not in values(envelopes[-1], "depth"):
            envelopes.append(receiver.envelope())
            assert envelopes[-1] is not None
        took = (time.time_ns() - comes) / 1e9
        stale = [e for e in envelopes if e["sent"] < comes]
    print(f"the newest value after {took:.2f} s, {len(stale)} stale envelopes")
    assert took < 2
    assert len(stale) <= 8
    assert [e["seq"] for e in envelopes] == list(range(1, len(envelopes) + 1))
    assert values(envelopes[-1], "calls_total") == [newest + 1]

    # A broker shows it: two seconds from when it listens.
    bus.start()
    bus.wait_value("depth", newest, timeout=2)
    bus.wait_value("calls_total", newest + 1, timeout=2)
    for workload in workloads:
        assert workload.log.count(LOG_LINE) == 1
