// SPDX-License-Identifier: Apache-2.0
#include "bus/pipeline/sink_worker.hpp"

#include <doctest/doctest.h>

#include "bus/pipeline/fan_out.hpp"
#include "tests/unit/pipeline/test_backend.hpp"

using namespace insight;
using test::Backend;
using test::dropped;
using test::points;
using test::spans;

namespace {

constexpr auto kMetrics = static_cast<size_t>(Signal::metrics);
constexpr auto kSpans = static_cast<size_t>(Signal::spans);

/// A worker without a thread on a clock that stands still until it is moved.
struct Bench {
  explicit Bench(SinkWorkerOptions options = {}) {
    options.name = "test";
    options.type = "test";
    options.clock = [this] { return now; };
    worker = std::make_unique<SinkWorker>(std::make_unique<test::TestSink>(backend), options,
                                          Logger::none());
  }

  /// Steps until nothing is due now; the time of the next call.
  uint64_t step() {
    for (;;) {
      const uint64_t due_ns = worker->step(now);
      CHECK(test::is_balanced(worker->snapshot()));
      if (due_ns > now.mono_ns) return due_ns;
    }
  }

  void move_to(uint64_t mono_ns) {
    REQUIRE(mono_ns >= now.mono_ns);
    now.wall_ns += mono_ns - now.mono_ns;
    now.mono_ns = mono_ns;
  }

  SinkSnapshot snapshot() const { return worker->snapshot(); }

  Now now{.wall_ns = 1'000'000 * kSecond, .mono_ns = 1'000 * kSecond};
  Backend backend;
  std::unique_ptr<SinkWorker> worker;
};

uint64_t observations(const DurationHistogram::Snapshot& histogram) {
  uint64_t sum = 0;
  for (const uint64_t n : histogram.buckets) sum += n;
  return sum;
}

}  // namespace

TEST_CASE("batches are written in the order in which they were offered") {
  Bench bench;
  for (size_t i = 1; i <= 5; ++i) bench.worker->offer(points(i));

  bench.step();

  REQUIRE(bench.backend.accepted.size() == 5);
  for (size_t i = 0; i < 5; ++i) CHECK(bench.backend.accepted[i].second == i + 1);
  CHECK(bench.snapshot().delivered[kMetrics] == 15);
  CHECK(bench.snapshot().queue_bytes[kMetrics] == 0);
  CHECK(bench.backend.opens == 1);
}

TEST_CASE("metrics and spans take turns, however many wait of the other") {
  Bench bench;
  for (int i = 0; i < 100; ++i) bench.worker->offer(spans(1));
  for (int i = 0; i < 100; ++i) bench.worker->offer(points(1));

  for (int i = 0; i < 20; ++i) bench.worker->step(bench.now);

  CHECK(bench.snapshot().delivered[kMetrics] == 10);
  CHECK(bench.snapshot().delivered[kSpans] == 10);
}

TEST_CASE("a signal that the sink does not take is not counted at all") {
  SinkWorkerOptions options;
  options.signals = {true, false};
  Bench bench(options);

  bench.worker->offer(spans(3));
  bench.step();

  CHECK(bench.snapshot().received[kSpans] == 0);
  CHECK(bench.backend.writes == 0);
}

TEST_CASE("an open that fails is tried again with growing waits, and loses nothing") {
  Bench bench;
  bench.backend.on_open = [] { throw std::runtime_error("no route to host"); };
  bench.worker->offer(points(2));

  for (uint64_t whole = kSecond; whole <= 8 * kSecond; whole *= 2) {
    const uint64_t due_ns = bench.step();
    CHECK(due_ns - bench.now.mono_ns >= whole / 2);
    CHECK(due_ns - bench.now.mono_ns <= whole);
    CHECK(bench.worker->step(bench.now) == due_ns);  // not before its time
    bench.move_to(due_ns);
  }
  CHECK(bench.backend.opens == 4);
  CHECK_FALSE(bench.snapshot().is_up);
  CHECK(bench.snapshot().last_error == "no route to host");
  CHECK(bench.snapshot().queue_records[kMetrics] == 2);

  bench.backend.on_open = [] {};
  bench.step();

  CHECK(bench.snapshot().is_up);
  CHECK(bench.snapshot().delivered[kMetrics] == 2);
  CHECK(bench.snapshot().retries == 4);
}

TEST_CASE("a batch is tried again until the sink takes it") {
  Bench bench;
  int failures = 3;
  bench.backend.on_write = [&](const Batch&) {
    return failures-- > 0 ? test::refuse(Delivery::Outcome::retry) : Delivery{};
  };
  bench.worker->offer(points(7));

  std::vector<uint64_t> tries_ns;
  while (bench.snapshot().delivered[kMetrics] == 0) {
    const uint64_t writes = bench.backend.writes;
    const uint64_t due_ns = bench.step();
    if (bench.backend.writes > writes) tries_ns.push_back(bench.now.mono_ns);
    CHECK(bench.snapshot().is_up == (bench.snapshot().delivered[kMetrics] == 7));
    if (!bench.snapshot().is_up) bench.move_to(due_ns);
  }

  REQUIRE(tries_ns.size() == 4);
  for (size_t i = 1; i < 4; ++i) {
    const uint64_t whole_ns = kSecond << (i - 1);
    CHECK(tries_ns[i] - tries_ns[i - 1] >= whole_ns / 2);
    CHECK(tries_ns[i] - tries_ns[i - 1] <= whole_ns);
  }
  CHECK(bench.backend.writes == 4);
  CHECK(bench.snapshot().retries == 3);
  CHECK(bench.snapshot().delivered[kMetrics] == 7);
  CHECK(bench.snapshot().is_up);
  CHECK(bench.snapshot().last_error == "refused");
  CHECK(bench.snapshot().last_success_wall_ns == bench.now.wall_ns);
}

TEST_CASE("a batch that is refused for too long is given up, and the next one has its own time") {
  SinkWorkerOptions options;
  options.retry_give_up_after_ns = 60 * kSecond;
  Bench bench(options);
  bench.backend.on_write = [](const Batch&) { return test::refuse(Delivery::Outcome::retry); };
  bench.worker->offer(points(1));
  bench.worker->offer(points(2));

  const uint64_t start_ns = bench.now.mono_ns;
  while (dropped(bench.snapshot(), Signal::metrics, Reason::gave_up) == 0)
    bench.move_to(bench.step());
  const uint64_t first_ns = bench.now.mono_ns;
  while (dropped(bench.snapshot(), Signal::metrics, Reason::gave_up) == 1)
    bench.move_to(bench.step());

  CHECK(first_ns - start_ns >= 60 * kSecond);
  CHECK(first_ns - start_ns <= 62 * kSecond);  // idle() wakes the worker once a second
  CHECK(bench.now.mono_ns - first_ns >= 58 * kSecond);
  CHECK(dropped(bench.snapshot(), Signal::metrics, Reason::gave_up) == 3);
  CHECK(bench.snapshot().queue_records[kMetrics] == 0);
}

TEST_CASE("a signal that waits for its next try does not hold up the other") {
  Bench bench;
  bench.backend.on_write = [](const Batch& batch) {
    return batch.signal == Signal::spans ? test::refuse(Delivery::Outcome::retry) : Delivery{};
  };
  bench.worker->offer(spans(1));
  bench.worker->offer(points(1));
  bench.worker->offer(points(1));

  bench.step();

  CHECK(bench.snapshot().delivered[kMetrics] == 2);
  CHECK(bench.snapshot().queue_records[kSpans] == 1);
}

TEST_CASE("after a success the waits are short again") {
  Bench bench;
  bool is_down = true;
  bench.backend.on_write = [&](const Batch&) {
    return is_down ? test::refuse(Delivery::Outcome::retry) : Delivery{};
  };
  const auto wait_for_tries = [&](uint64_t tries) {
    const uint64_t enough = bench.backend.writes + tries;
    while (bench.backend.writes < enough) bench.move_to(bench.step());
  };
  bench.worker->offer(points(1));
  wait_for_tries(6);
  is_down = false;
  wait_for_tries(1);

  is_down = true;
  bench.worker->offer(points(1));
  bench.step();
  const uint64_t first_ns = bench.now.mono_ns;
  wait_for_tries(1);

  CHECK(bench.now.mono_ns - first_ns <= 2 * kSecond);
}

TEST_CASE("a sink is not up while a batch of either signal waits for its next try") {
  Bench bench;
  bool is_full = true;
  bench.backend.on_write = [&](const Batch& batch) {
    return is_full && batch.signal == Signal::spans ? test::refuse(Delivery::Outcome::retry)
                                                    : Delivery{};
  };
  bench.worker->offer(spans(1'000));
  bench.step();
  bench.worker->offer(points(1));
  bench.step();

  CHECK(bench.snapshot().delivered[kMetrics] == 1);
  CHECK_FALSE(bench.snapshot().is_up);
  is_full = false;
  while (bench.snapshot().delivered[kSpans] == 0) bench.move_to(bench.step());

  CHECK(bench.snapshot().is_up);
}

TEST_CASE("a rejected batch is dropped at once and counted, the next one is tried") {
  Bench bench;
  bool is_first = true;
  bench.backend.on_write = [&](const Batch&) {
    return std::exchange(is_first, false) ? test::refuse(Delivery::Outcome::rejected) : Delivery{};
  };
  bench.worker->offer(points(4));
  bench.worker->offer(points(5));

  bench.step();

  CHECK(dropped(bench.snapshot(), Signal::metrics, Reason::rejected) == 4);
  CHECK(bench.snapshot().delivered[kMetrics] == 5);
  CHECK(bench.snapshot().retries == 0);
}

TEST_CASE("what a sink throws ends at its worker") {
  Bench bench;
  bench.backend.on_write = [](const Batch& batch) -> Delivery {
    if (batch.records() == 1) throw std::runtime_error("bad day");
    throw 7;
  };
  bench.backend.on_idle = [] { throw std::runtime_error("not now"); };
  bench.worker->offer(points(1));
  bench.worker->offer(points(2));

  bench.step();

  CHECK(dropped(bench.snapshot(), Signal::metrics, Reason::rejected) == 3);
  CHECK(bench.snapshot().last_error == "unknown error");
  CHECK(bench.backend.idles == 1);
}

TEST_CASE("idle is called once a second, with and without work") {
  Bench bench;

  for (int i = 0; i < 10; ++i) {
    bench.worker->offer(points(1));
    bench.step();
    bench.move_to(bench.now.mono_ns + kSecond / 2);
  }

  CHECK(bench.backend.idles == 5);
}

TEST_CASE("delivery latency counts from the oldest record and is never negative") {
  Bench bench;
  const uint64_t wall_ns = bench.now.wall_ns;
  bench.worker->offer(test::make_batch(Signal::metrics, 1, wall_ns, wall_ns - 3 * kSecond));
  bench.worker->offer(test::make_batch(Signal::metrics, 1, wall_ns - 2 * kSecond));
  bench.worker->offer(test::make_batch(Signal::metrics, 1, wall_ns + 600 * kSecond));

  bench.step();

  const DurationHistogram::Snapshot latency = bench.snapshot().delivery_latency[kMetrics];
  CHECK(observations(latency) == 3);
  CHECK(latency.sum_seconds == doctest::Approx(5));
  CHECK(observations(bench.snapshot().delivery_latency[kSpans]) == 0);
}

TEST_CASE("the time that the sink took is measured around it alone") {
  Bench bench;
  bench.backend.on_write = [&](const Batch&) {
    bench.move_to(bench.now.mono_ns + 2 * kSecond);
    return Delivery{};
  };
  bench.worker->offer(points(1));

  bench.step();

  CHECK(observations(bench.snapshot().write_duration) == 1);
  CHECK(bench.snapshot().write_duration.sum_seconds == doctest::Approx(2));
}

TEST_CASE("after a slow refusal the wait begins when the sink has answered") {
  Bench bench;
  bench.backend.on_write = [&](const Batch&) {
    bench.move_to(bench.now.mono_ns + 30 * kSecond);
    return test::refuse(Delivery::Outcome::retry);
  };
  bench.worker->offer(points(1));

  bench.worker->step(bench.now);
  bench.worker->step(bench.now);

  CHECK(bench.backend.writes == 1);
}

TEST_CASE("a worker without a thread counts as stopped what it never wrote") {
  Bench bench;
  bench.worker->offer(points(3));
  bench.worker->offer(spans(4));

  CHECK(bench.worker->stop(std::chrono::seconds(1)));
  bench.worker->offer(points(5));

  CHECK(dropped(bench.snapshot(), Signal::metrics, Reason::stopped) == 8);
  CHECK(dropped(bench.snapshot(), Signal::spans, Reason::stopped) == 4);
  CHECK(test::is_balanced(bench.snapshot()));
  bench.worker.reset();
  CHECK(bench.backend.closes == 1);
}

TEST_CASE("a fan-out hands the same batch to every worker") {
  Bench one;
  Bench two;
  FanOut fan_out({one.worker.get(), two.worker.get()});
  const std::shared_ptr<const Batch> batch = points(2);

  fan_out.receive(batch);
  CHECK(batch.use_count() == 3);
  one.step();
  two.step();

  CHECK(batch.use_count() == 1);
  CHECK(one.snapshot().delivered[kMetrics] == 2);
  CHECK(two.snapshot().delivered[kMetrics] == 2);
}
