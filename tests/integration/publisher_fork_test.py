# SPDX-License-Identifier: Apache-2.0
"""A program forks: its children go on counting by what they inherited, each as a publisher of its own."""
import os
import subprocess
import sys

import pytest
from bus import BUILD, PATIENCE, ROOT, wait_until
from workload import Workload

CHILDREN = 4
TOTAL = 1_000 + CHILDREN * 10


def check(bus):
    """Nothing lost, nothing twice: the total, the incarnations, the spans and their ids."""
    wait_until(lambda: [p["state"] for p in bus.publishers().values()] == ["ended"] * (CHILDREN + 1), 20, "all have ended")
    bus.wait_value("jobs_total", TOTAL)
    spans = wait_until(lambda: len(spans := [r for r in bus.records() if r["type"] == "span"]) >= CHILDREN + 1 and spans, 10)
    ids = {span["span_id"] for span in spans}
    assert len(spans) == len(ids) == CHILDREN + 1
    assert len({span["inc"] for span in spans}) == CHILDREN + 1


@pytest.mark.sanitize
@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_children_of_a_cpp_program_add_through_the_handle_they_inherited_and_exit_at_once(bus, resources, transport):
    workload = resources.enter_context(Workload(getattr(bus, transport)))
    workload.counter("jobs_total", 1_000)
    workload.span("work", "lane")

    workload.tell(f"fork {CHILDREN} counter jobs_total 10 ; span work lane")
    assert workload.finish() == 0

    check(bus)


@pytest.mark.parametrize("method", ["os.fork", "fork", "spawn", "forkserver"])
def test_children_of_a_python_program_are_heard_however_they_are_started(bus, method):
    library = BUILD / "publishers" / "libinsight.so"
    program = ROOT / "tests" / "support" / "ctypes_publisher.py"

    done = subprocess.run(
        [sys.executable, program, library, method], env={**os.environ, "INSIGHT_ENDPOINT": bus.tcp},
        capture_output=True, text=True, timeout=60 * PATIENCE)

    assert done.returncode == 0, done.stderr
    check(bus)
