# SPDX-License-Identifier: Apache-2.0
import contextlib

import pytest
from bus import Bus
from prometheus import Prometheus


@pytest.fixture
def resources():
    """Closes what a test enters here, in reverse order, also when it fails."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def new_bus(resources):
    """new_bus(...) makes a Bus that is not started yet; its log is shown when the test fails."""
    made = []

    def make(**options):
        bus = resources.enter_context(Bus(**options))
        made.append(bus)
        return bus

    yield make
    for bus in made:
        if bus.process:
            print(f"--- log of the broker on {bus.http}\n{bus.log[-6000:]}")


@pytest.fixture
def bus(new_bus):
    """A broker that runs, with the sinks prometheus and file."""
    return new_bus().start()


@pytest.fixture
def prometheus(resources, bus):
    """A Prometheus server that scrapes `bus` each second."""
    return resources.enter_context(Prometheus(bus.http))
