# SPDX-License-Identifier: Apache-2.0
"""States as the file sink shows them: while they are open, to a broker that comes late, and when their program ends."""
import itertools

import pytest
from bus import wait_until
from workload import Workload


def records(bus, name):
    return [r for r in bus.records() if r["type"] != "point" and r["name"] == name]


def test_a_state_is_seen_open_by_a_broker_that_was_restarted(bus, resources):
    workload = resources.enter_context(Workload(bus.ipc))
    workload.state("rollout", "trainer_0", step="10")
    wait_until(lambda: records(bus, "rollout"), 20, "the beginning is seen")
    bus.restart()
    wait_until(lambda: any(r["type"] == "open" for r in records(bus, "rollout")), 20, "the new broker sees it")
    workload.end("rollout")
    wait_until(lambda: any(r["type"] == "end" for r in records(bus, "rollout")), 20, "the end is seen")

    seen = records(bus, "rollout")
    # What takes long is told as open more than once.
    assert [kind for kind, _ in itertools.groupby(r["type"] for r in seen)] == ["begin", "open", "end"]
    assert {(r["span_id"], r["trace_id"], r["lane"], r["start_ns"], r["attributes"]["step"]) for r in seen} == {
        (seen[0]["span_id"], seen[0]["trace_id"], "trainer_0", seen[0]["start_ns"], "10")}
    assert all((r["end_ns"] is None) == (r["type"] != "end") for r in seen)
    assert workload.finish() == 0


@pytest.mark.sanitize
def test_a_program_that_exits_in_the_middle_of_a_state_ends_it(bus, resources):
    workload = resources.enter_context(Workload(bus.ipc))
    workload.state("rollout", "trainer_0")
    workload.span("step", "trainer_0")
    wait_until(lambda: records(bus, "rollout"), 20, "the beginning is seen")
    workload.send("exit 3")
    assert workload.wait() == 3

    end = wait_until(lambda: records(bus, "rollout")[1:], 20, "the end is seen")[-1]
    assert (end["type"], end["status"]) == ("end", "unset")
    assert end["attributes"] == {"insight.reason": "publisher_closed"}
    assert end["end_ns"] > end["start_ns"]
    # The state is not current for what its keeper does later.
    assert [r["parent_id"] for r in records(bus, "step")] == [None]
