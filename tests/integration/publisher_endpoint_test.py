# SPDX-License-Identifier: Apache-2.0
"""Nobody told the publisher where the broker is."""
from bus import Bus, wait_until
from workload import Workload

CONFIG = Bus.CONFIG.replace("ipc://{directory}/bus.ipc", "ipc://{runtime_dir}/bus.ipc")


def test_a_publisher_finds_the_local_broker_that_comes_later_and_follows_it_over_a_restart(new_bus, resources):
    bus = new_bus(config=CONFIG)
    (bus.directory / "insight").mkdir(mode=0o700)
    workload = resources.enter_context(Workload("", env=bus.env))
    workload.gauge("depth", 7)
    assert workload.status()["endpoint"] != f"ipc://{bus.directory}/insight/bus.ipc"

    bus.start()
    wait_until(lambda: workload.status()["endpoint"] == f"ipc://{bus.directory}/insight/bus.ipc", 5)
    bus.wait_value("depth", 7, timeout=5)

    bus.restart()
    bus.wait_value("depth", 7, timeout=5)
    workload.counter("jobs_total", 3)
    bus.wait_value("jobs_total", 3)
    assert workload.finish() == 0
