// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include <doctest/doctest.h>

#include "bus/pipeline/sink_worker.hpp"
#include "tests/unit/pipeline/test_backend.hpp"

using namespace insight;
using namespace std::chrono_literals;
using test::Backend;
using test::dropped;
using test::points;
using test::spans;

namespace {

/// Holds up whoever passes while it is shut, and tells that somebody stands before it.
class Gate {
 public:
  void pass() {
    std::unique_lock lock(mutex_);
    ++standing_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return is_open_; });
    --standing_;
  }

  void wait_for_visitor() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return standing_ > 0; });
  }

  void open() {
    const std::unique_lock lock(mutex_);
    is_open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int standing_ = 0;
  bool is_open_ = false;
};

struct Running {
  explicit Running(Backend& backend, SinkWorkerOptions options = {})
      : worker(std::make_unique<test::TestSink>(backend), named(std::move(options)),
               Logger::none()) {
    worker.start();
  }

  static SinkWorkerOptions named(SinkWorkerOptions options) {
    options.name = "a_name_longer_than_fifteen_bytes";
    return options;
  }

  SinkWorker worker;
};

}  // namespace

TEST_CASE("a checkpoint returns when what was offered before is written and flushed") {
  Backend backend;
  Running running(backend);
  for (int i = 0; i < 100; ++i) running.worker.offer(points(1));

  CHECK(running.worker.checkpoint(30s));

  CHECK(running.worker.snapshot().delivered[0] == 100);
  CHECK(running.worker.stop(30s));
  CHECK(backend.flushes == 2);  // one for the checkpoint, one before close
}

TEST_CASE("a checkpoint fails at its deadline when the sink hangs, and others are not held up") {
  Backend backend;
  Gate gate;
  backend.on_write = [&](const Batch&) {
    gate.pass();
    return Delivery{};
  };
  Running running(backend);
  running.worker.offer(points(1));
  gate.wait_for_visitor();

  CHECK_FALSE(running.worker.checkpoint(20ms));
  running.worker.offer(points(2));
  CHECK(running.worker.snapshot().queue_records[0] == 3);  // with the one in flight

  gate.open();
  CHECK(running.worker.checkpoint(30s));
  CHECK(running.worker.snapshot().delivered[0] == 3);
}

TEST_CASE("a checkpoint does not return for what only an earlier one waited for") {
  // Who comes first is up to the scheduler: in some of the rounds both wait when the first batch is
  // written.
  for (int round = 0; round < 25; ++round) {
    Backend backend;
    Gate gate;
    backend.on_write = [&](const Batch& batch) {
      if (batch.records() == 2) return test::refuse(Delivery::Outcome::retry);
      gate.pass();
      return Delivery{};
    };
    Running running(backend);
    running.worker.offer(points(1));
    gate.wait_for_visitor();

    bool second = true;
    {
      const std::jthread one([&] { (void)running.worker.checkpoint(30s); });
      for (int i = 0; i < round; ++i) std::this_thread::yield();
      running.worker.offer(points(2));
      const std::jthread two([&] { second = running.worker.checkpoint(20ms); });
      for (int i = 0; i < round; ++i) std::this_thread::yield();
      gate.open();
      running.worker.stop(1s);  // ends the first, too, when it came after the second batch
    }

    CHECK_FALSE(second);
  }
}

TEST_CASE("an offer wakes a worker that sleeps") {
  Backend backend;
  Running running(backend);
  const uint64_t start_ns = mono_now_ns();

  for (uint64_t i = 1; i <= 6; ++i) {
    running.worker.offer(points(1));
    while (running.worker.snapshot().delivered[0] < i) std::this_thread::yield();
  }

  CHECK(mono_now_ns() - start_ns < 3 * kSecond);  // by the call of idle() alone it would be 6
}

TEST_CASE("a checkpoint fails while flush fails") {
  Backend backend;
  backend.on_flush = [] { throw std::runtime_error("disk is gone"); };
  Running running(backend);
  running.worker.offer(points(1));

  CHECK_FALSE(running.worker.checkpoint(50ms));

  CHECK(running.worker.snapshot().delivered[0] == 1);
  CHECK(running.worker.snapshot().last_error == "disk is gone");
}

TEST_CASE("a checkpoint of an empty worker still makes durable what was written before") {
  Backend backend;
  Running running(backend);

  CHECK(running.worker.checkpoint(30s));

  CHECK(running.worker.stop(30s));
  CHECK(backend.flushes == 2);
}

TEST_CASE("stop writes what waits, flushes and closes") {
  Backend backend;
  Running running(backend);
  for (int i = 0; i < 1'000; ++i) {
    running.worker.offer(points(1));
    running.worker.offer(spans(1));
  }

  CHECK(running.worker.stop(30s));
  CHECK(running.worker.stop(30s));

  const SinkSnapshot snapshot = running.worker.snapshot();
  CHECK(snapshot.delivered[0] == 1'000);
  CHECK(snapshot.delivered[1] == 1'000);
  CHECK_FALSE(snapshot.is_up);
  CHECK(backend.flushes == 1);
  CHECK(backend.closes == 1);
  CHECK_FALSE(running.worker.checkpoint(10ms));
}

TEST_CASE("stop tries once more at once what waited for its next try") {
  Backend backend;
  std::atomic<int> writes = 0;
  backend.on_write = [&](const Batch&) {
    return ++writes == 1 ? test::refuse(Delivery::Outcome::retry) : Delivery{};
  };
  SinkWorkerOptions options;
  options.retry_initial_ns = 3'600 * kSecond;
  options.retry_max_ns = 3'600 * kSecond;
  options.retry_give_up_after_ns = 86'400 * kSecond;
  Running running(backend, options);
  running.worker.offer(points(1));
  while (writes == 0) std::this_thread::yield();

  CHECK(running.worker.stop(30s));

  CHECK(running.worker.snapshot().delivered[0] == 1);
}

TEST_CASE("stop tries to open once more at once") {
  Backend backend;
  std::atomic<int> opens = 0;
  backend.on_open = [&] {
    if (++opens == 1) throw std::runtime_error("closed");
  };
  SinkWorkerOptions options;
  options.retry_initial_ns = 3'600 * kSecond;
  options.retry_max_ns = 3'600 * kSecond;
  Running running(backend, options);
  running.worker.offer(points(2));
  while (opens == 0) std::this_thread::yield();

  CHECK(running.worker.stop(30s));

  CHECK(running.worker.snapshot().delivered[0] == 2);
}

TEST_CASE("stop does not wait for a try that would come after its deadline") {
  Backend backend;
  backend.on_open = [] { throw std::runtime_error("closed"); };
  SinkWorkerOptions options;
  options.retry_initial_ns = 3'600 * kSecond;
  options.retry_max_ns = 3'600 * kSecond;
  Running running(backend, options);
  running.worker.offer(points(6));

  const uint64_t start_ns = mono_now_ns();
  CHECK(running.worker.stop(300s));

  CHECK(mono_now_ns() - start_ns < 60 * kSecond);
  CHECK(dropped(running.worker.snapshot(), Signal::metrics, Reason::stopped) == 6);
}

TEST_CASE("stop keeps the rest of its time for flush and close when the sink is slow") {
  Backend backend;
  backend.on_write = [](const Batch&) {
    std::this_thread::sleep_for(5ms);
    return Delivery{};
  };
  Running running(backend);
  for (int i = 0; i < 10'000; ++i) running.worker.offer(points(1));

  CHECK(running.worker.stop(1s));

  const SinkSnapshot snapshot = running.worker.snapshot();
  CHECK(backend.flushes == 1);
  CHECK(snapshot.delivered[0] > 0);
  CHECK(dropped(snapshot, Signal::metrics, Reason::stopped) == 10'000 - snapshot.delivered[0]);
}

TEST_CASE("stop gives up a sink that hangs, and what it does later is not counted again") {
  Backend backend;
  Gate gate;
  backend.on_write = [&](const Batch&) {
    gate.pass();
    return Delivery{};
  };
  {
    Running running(backend);
    running.worker.offer(points(3));
    running.worker.offer(points(4));
    gate.wait_for_visitor();

    CHECK_FALSE(running.worker.stop(20ms));
    CHECK(dropped(running.worker.snapshot(), Signal::metrics, Reason::stopped) == 7);

    gate.open();
    CHECK(running.worker.stop(30s));
    const SinkSnapshot snapshot = running.worker.snapshot();
    CHECK(snapshot.delivered[0] == 0);
    CHECK(test::is_balanced(snapshot));
  }
  CHECK(backend.writes == 1);
}

TEST_CASE("collectors, readers and checkpoints meet a worker at the same time") {
  Backend backend;
  int n = 0;
  backend.on_write = [&](const Batch&) {
    return ++n % 7 == 0 ? test::refuse(Delivery::Outcome::retry) : Delivery{};
  };
  SinkWorkerOptions options;
  options.queue_bytes = 64 << 10;
  options.retry_initial_ns = kMillisecond;
  options.retry_max_ns = 2 * kMillisecond;
  Running running(backend, options);
  constexpr int kEach = 5'000;

  std::atomic<bool> is_done = false;
  std::atomic<uint64_t> unbalanced = 0;
  {
    std::jthread reader([&] {
      while (!is_done) {
        if (!test::is_balanced(running.worker.snapshot())) ++unbalanced;
      }
    });
    std::jthread checker([&] {
      while (!is_done) (void)running.worker.checkpoint(1ms);
    });
    {
      std::jthread one([&] {
        for (int i = 0; i < kEach; ++i) running.worker.offer(points(1));
      });
      std::jthread two([&] {
        for (int i = 0; i < kEach; ++i) running.worker.offer(spans(2));
      });
      std::jthread three([&] {
        for (int i = 0; i < kEach; ++i) running.worker.offer(points(3));
      });
    }
    CHECK(running.worker.checkpoint(60s));
    is_done = true;
  }
  CHECK(running.worker.stop(60s));

  const SinkSnapshot snapshot = running.worker.snapshot();
  CHECK(unbalanced == 0);
  CHECK(snapshot.received[0] == 4 * kEach);
  CHECK(snapshot.received[1] == 2 * kEach);
  CHECK(test::is_balanced(snapshot));
  uint64_t accepted = 0;
  for (const auto& batch : backend.accepted) accepted += batch.second;
  CHECK(accepted == snapshot.delivered[0] + snapshot.delivered[1]);
}
