# SPDX-License-Identifier: Apache-2.0
"""The broker is killed and started again, over and over, while publishers come, go and say bye. What was added is
counted here, outside of publisher and broker."""
import itertools
import random

import pytest
from bus import FULL, key, wait_until
from prometheus import Prometheus
from short_publisher import ShortPublisher, family, point
from workload import Workload

CYCLES = 100 if FULL else 20
SCRAPES = 10
BOUNDS = [0.01, 0.1, 1.0]
OBSERVED = [0.01, 0.05, 0.5, 7.0]  # one for each bucket; the first lies on its bound

# How a worker leaves. After the first two its totals are known exactly, whatever happens to the broker.
FATES = ["stays", "bye, and is seen as ended", "bye, then the broker is killed", "bye, while no broker runs", "killed"]


class Worker:
    """What a worker was told to add; how it is told is up to the two kinds of it."""

    def __init__(self, name, fate):
        self.name, self.fate = name, fate
        self.is_certain = fate in FATES[:2]
        # All certain workers share a counter, whose total is therefore known; so do the others.
        self.shared = "certain_jobs_total" if self.is_certain else "other_jobs_total"
        self.jobs, self.buckets = 0, [0] * (len(BOUNDS) + 1)

    def work(self, rng):
        jobs, observed = rng.randrange(1, 50), rng.randrange(len(OBSERVED))
        self.jobs += jobs
        self.buckets[observed] += 1
        self.record(jobs, OBSERVED[observed])

    def truth(self):
        """Every series that this worker alone feeds."""
        series = {key("jobs_total", worker=self.name): self.jobs}
        running = itertools.accumulate(self.buckets)
        for bound, count in zip([*BOUNDS, float("inf")], running):
            series[key("job_seconds_bucket", worker=self.name, le=bound)] = count
        series[key("job_seconds_count", worker=self.name)] = sum(self.buckets)
        return series


class PythonWorker(Worker):
    def __init__(self, bus, resources, name, fate):
        super().__init__(name, fate)
        self.publisher = resources.enter_context(ShortPublisher(bus.tcp, linger_ms=100))

    def record(self, jobs, observed):
        self.flush()

    def flush(self, **life):
        total = sum(x * n for x, n in zip(OBSERVED, self.buckets))
        histogram = [sum(self.buckets), total, self.buckets]
        return self.publisher.send(met=[
            [family("jobs_total", "counter", ["worker"]), [point(self.jobs, self.name)]],
            [family(self.shared, "counter"), [point(self.jobs)]],
            [family("job_seconds", "histogram", ["worker"], bounds=BOUNDS), [point(histogram, self.name)]],
        ], **life)

    def is_it(self, publisher):
        return publisher["incarnation"] == self.publisher.incarnation

    def bye(self):
        if self.is_certain:
            wait_until(lambda: self.flush(life="bye"), 10, "bye is taken")
        else:
            self.flush(life="bye")
        self.publisher.close()

    def kill(self):
        self.publisher.socket.linger = 0
        self.publisher.close()


class CppWorker(Worker):
    def __init__(self, bus, resources, name, fate):
        super().__init__(name, fate)
        self.workload = resources.enter_context(Workload(bus.tcp, env={"INSIGHT_FLUSH_INTERVAL": "50ms"}))
        self.workload.bounds("job_seconds", BOUNDS)

    def record(self, jobs, observed):
        self.workload.counter("jobs_total", jobs, worker=self.name)
        self.workload.counter(self.shared, jobs)
        self.workload.histogram("job_seconds", observed, worker=self.name)

    def flush(self):
        """It does so by itself."""

    def is_it(self, publisher):
        return publisher["resource"]["process.pid"] == self.workload.pid

    def bye(self):
        assert self.workload.finish() == 0

    def kill(self):
        self.workload.kill()


class NeverFalls:
    """The highest value that was ever scraped of each of the users' series."""

    def __init__(self):
        self.highest = {}

    def check(self, scraped):
        for series, value in scraped.items():
            if series[0].endswith(("_total", "_bucket", "_count", "_sum")) and not series[0].startswith("insight_"):
                before = self.highest.get(series, 0)
                assert value >= before - 1e-6, f"{series} fell from {before} to {value}"
                self.highest[series] = max(value, before)


def by_number(scraped):
    """The bounds as numbers, so that they compare whatever way they are written."""
    return {(name, tuple((k, float(v) if k == "le" else v) for k, v in labels)): value
            for (name, labels), value in scraped.items()}


@pytest.mark.alone
def test_no_number_falls_and_all_are_right_over_kills_of_the_broker(new_bus, resources):
    seed = random.SystemRandom().randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    bus = new_bus().start()
    prometheus = resources.enter_context(Prometheus(bus.http))
    present, gone, ended = [], [], set()  # `ended`: those that /api/v1/publishers has shown as ended
    watch = NeverFalls()

    def see_ended():
        shown = [p for p in bus.publishers().values() if p["state"] == "ended"]
        ended.update(w for w in gone if any(w.is_it(p) for p in shown))

    def shows(workers):
        for worker in workers:
            worker.flush()
        scraped = bus.scrape()
        watch.check(scraped)
        return all(scraped.get(key("jobs_total", worker=w.name)) == w.jobs for w in workers)

    def wait_ended(worker):
        wait_until(lambda: see_ended() or worker in ended, 15, f"{worker.name} is seen as ended")

    def leave(worker):
        present.remove(worker)
        gone.append(worker)
        worker.kill() if worker.fate == "killed" else worker.bye()

    for cycle in range(CYCLES):
        fate = FATES[1 + cycle % 4] if cycle % 5 else "stays"
        kind = [PythonWorker, CppWorker][cycle // 2 % 2]
        present.append(kind(bus, resources, f"w{cycle}", fate))
        for worker in present:
            worker.work(rng)
        for scrape in range(SCRAPES):
            for worker in rng.sample(present, min(3, len(present))):
                worker.work(rng)
            watch.check(bus.scrape())
            see_ended()
        # Every other kill comes while totals are on their way, every other one after they have arrived.
        if cycle % 2:
            for worker in present:
                worker.work(rng)
            wait_until(lambda: shows(present), 20, "what was added between two kills is shown")
        leaving = [w for w in present if w.fate != "stays" and rng.random() < 0.7]
        for worker in leaving:
            if worker.fate != "bye, while no broker runs":
                leave(worker)
            if worker.fate == "bye, and is seen as ended":
                wait_ended(worker)
        bus.kill()
        for worker in leaving:
            if worker in present:
                leave(worker)
        for worker in present:
            worker.work(rng)
        bus.start()

    for worker in [w for w in present if w.fate != "stays" and w.is_certain]:
        leave(worker)
        wait_ended(worker)
    known = present + list(ended)
    others = [w for w in gone if w not in ended]
    expected = {series: value for worker in known for series, value in worker.truth().items()}
    expected[key("certain_jobs_total")] = sum(w.jobs for w in known if w.is_certain)

    def wrong():
        for worker in present:
            worker.flush()
        scraped = by_number(bus.scrape())
        return {s: (scraped.get(s), value) for s, value in expected.items() if scraped.get(s) != value}

    try:
        wait_until(lambda: not wrong(), 40, interval=0.5)
    except AssertionError:
        raise AssertionError(f"(scraped, truth): {wrong()}") from None
    scraped = bus.scrape()
    watch.check(scraped)
    at_least = sum(w.jobs for w in known if not w.is_certain)
    assert at_least <= scraped[key("other_jobs_total")] <= at_least + sum(w.jobs for w in others)
    for worker in others:
        assert scraped.get(key("jobs_total", worker=worker.name), 0) <= worker.jobs
    assert len({w.fate for w in gone}) == len(FATES) - 1, "every way to leave was taken"

    names = ["jobs_total", "certain_jobs_total", "other_jobs_total", "job_seconds_bucket", "job_seconds_count"]
    total = scraped[key("certain_jobs_total")]
    prometheus.wait_query("certain_jobs_total", lambda rows: [v for _, v in rows] == [total])
    last = {}
    for name in names:
        rows = prometheus.query(f"resets({name}[1d])")
        assert rows and {value for _, value in rows} == {0.0}, rows
        for labels, value in prometheus.query(name):
            own = tuple(sorted((k, v) for k, v in labels.items() if k not in ("__name__", "job", "instance")))
            last[name, own] = value
    last = by_number(last)
    assert {series: last.get(series) for series in expected} == expected
