// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <random>

#include <doctest/doctest.h>

#include "bus/pipeline/sink_worker.hpp"
#include "tests/unit/pipeline/test_backend.hpp"

using namespace insight;

namespace {

/// An hour of a worker under a sink that fails in every way, with all time simulated.
class Simulation {
 public:
  explicit Simulation(uint32_t seed) : random_(seed) {
    SinkWorkerOptions options;
    options.name = "simulated";
    options.queue_bytes = 64 << 10;
    options.retry_give_up_after_ns = 30 * kSecond;
    options.seed = seed;
    options.clock = [this] { return now_; };
    for (WhenFull& when_full : options.when_full) {
      when_full = is_true(0.5) ? WhenFull::drop_oldest : WhenFull::drop_newest;
    }
    backend_.on_open = [this] { open(); };
    backend_.on_write = [this](const Batch& batch) { return write(batch); };
    worker_ = std::make_unique<SinkWorker>(std::make_unique<test::TestSink>(backend_), options,
                                           Logger::none());
  }

  void run() {
    uint64_t due_ns = 0;
    uint64_t last_idle = 0;
    for (int i = 0; i < 4'000; ++i) {
      if (is_true(0.01)) failing_ = is_true(0.5) ? draw(0.0, 1.0) : 0.0;
      const auto offers = static_cast<int>(draw(0, is_true(0.05) ? 60 : 3));
      for (int k = 0; k < offers; ++k) offer();
      while (due_ns <= now_.mono_ns) {
        due_ns = worker_->step(now_);
        check();
      }
      // As the thread does: on at the time that step() asked for, or before when something was
      // offered.
      advance(std::min<uint64_t>(due_ns - now_.mono_ns, static_cast<uint64_t>(draw(1, 2e9))));
      if (is_true(0.7)) due_ns = std::min(due_ns, now_.mono_ns);
      CHECK(backend_.idles >= last_idle);
      last_idle = backend_.idles;
    }
    failing_ = 0;
    for (int i = 0; i < 10'000 && queued() > 0; ++i) {
      due_ns = worker_->step(now_);
      if (due_ns > now_.mono_ns) advance(due_ns - now_.mono_ns);
    }
    check();
    CHECK(queued() == 0);
  }

 private:
  bool is_true(double probability) { return draw(0, 1) < probability; }

  double draw(double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(random_);
  }

  void advance(uint64_t ns) {
    now_.mono_ns += ns;
    now_.wall_ns += ns;
  }

  void offer() {
    const Signal signal = is_true(0.5) ? Signal::metrics : Signal::spans;
    const auto records = static_cast<size_t>(draw(0, is_true(0.02) ? 2'000 : 60));
    offered_[static_cast<size_t>(signal)] += records;
    worker_->offer(test::make_batch(signal, records, now_.wall_ns));
    check();
  }

  void open() {
    check();
    if (is_true(failing_)) throw std::runtime_error("closed");
  }

  Delivery write(const Batch& batch) {
    check();  // the batch in here counts as queued
    advance(static_cast<uint64_t>(draw(0, is_true(0.05) ? 5e9 : 5e6)));
    if (is_true(0.1)) offer();  // a collector does not wait for the sink
    if (is_true(failing_)) {
      const double what = draw(0, 1);
      if (what < 0.6) return test::refuse(Delivery::Outcome::retry);
      if (what < 0.9) return test::refuse(Delivery::Outcome::rejected);
      throw std::runtime_error("broken");
    }
    Delivery delivery;
    if (is_true(0.1)) {
      delivery.dropped[static_cast<size_t>(Reason::conflict)] = batch.records() / 2;
    }
    written_[static_cast<size_t>(batch.signal)] +=
        batch.records() - delivery.dropped[static_cast<size_t>(Reason::conflict)];
    return delivery;
  }

  void check() {
    const SinkSnapshot snapshot = worker_->snapshot();
    REQUIRE(test::is_balanced(snapshot));
    for (size_t i = 0; i < kSignalCount; ++i) {
      REQUIRE(snapshot.received[i] == offered_[i]);
      REQUIRE(snapshot.queue_bytes[i] <= snapshot.queue_limit_bytes);
      REQUIRE(snapshot.delivered[i] <= written_[i]);
    }
  }

  uint64_t queued() const {
    const SinkSnapshot snapshot = worker_->snapshot();
    return snapshot.queue_bytes[0] + snapshot.queue_bytes[1];
  }

  Now now_{.wall_ns = 1'000'000 * kSecond, .mono_ns = kSecond};
  std::minstd_rand random_;
  double failing_ = 0;
  std::array<uint64_t, kSignalCount> offered_{};
  std::array<uint64_t, kSignalCount> written_{};
  test::Backend backend_;
  std::unique_ptr<SinkWorker> worker_;
};

}  // namespace

TEST_CASE("at any moment of a random life each record is delivered, dropped or queued") {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    Simulation(seed).run();
  }
}
