# SPDX-License-Identifier: Apache-2.0
"""Label values without end: the publisher keeps 2,000 series of a metric and one that takes the rest."""
import pytest
from bus import rss_anon
from workload import Workload

VALUES = 1_000_000
KEPT = 2_000
MIB = 1 << 20


@pytest.mark.alone
def test_a_million_label_values_cost_bounded_memory_and_no_count(bus, resources):
    workload = resources.enter_context(Workload(bus.tcp))
    workload.counter("jobs_total", 5, route="/v1")
    bus.wait_value("jobs_total", 5, route="/v1")
    before = rss_anon(workload.popen.pid), rss_anon(bus.pid)

    workload.tell(f"repeat {VALUES} counter users_total 1 user=user-{{i}}", timeout=120)
    workload.counter("jobs_total", 1, route="/v1")

    bus.wait_value("users_total", VALUES - KEPT, insight_overflow="true")
    users = {name: value for name, value in bus.scrape().items() if name[0] == "users_total"}
    assert len(users) == KEPT + 1
    assert sum(users.values()) == VALUES
    bus.wait_value("jobs_total", 6, route="/v1")
    assert "users_total" in [offender["metric"] for offender in bus.api("series")["offenders"]]
    grown = rss_anon(workload.popen.pid) - before[0], rss_anon(bus.pid) - before[1]
    print(f"grown by {grown[0] / MIB:.1f} MiB at the publisher, {grown[1] / MIB:.1f} MiB at the broker")
    assert grown[0] < 8 * MIB
    assert grown[1] < 32 * MIB
    assert workload.status()["drops"] == {}
    assert workload.finish() == 0
