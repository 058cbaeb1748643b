// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "bus/base/clock.hpp"
#include "bus/model/batch.hpp"
#include "bus/pipeline/sink.hpp"
#include "bus/pipeline/sink_worker.hpp"

namespace insight::test {

/// A batch with so many empty records, from an envelope sent at `sent_ns`.
inline std::shared_ptr<const Batch> make_batch(Signal signal, size_t records, uint64_t sent_ns = 1,
                                               uint64_t oldest_ns = 0) {
  auto batch = std::make_shared<Batch>();
  batch->signal = signal;
  batch->segments.push_back({.seq = 1, .sent_ns = sent_ns, .oldest_ns = oldest_ns, .end = records});
  if (signal == Signal::metrics) batch->points.resize(records);
  if (signal == Signal::spans) batch->spans.resize(records);
  return batch;
}

inline std::shared_ptr<const Batch> points(size_t records) {
  return make_batch(Signal::metrics, records);
}

inline std::shared_ptr<const Batch> spans(size_t records) {
  return make_batch(Signal::spans, records);
}

/// What stands behind a TestSink: does as it is told and remembers what was asked of it.
struct Backend {
  std::function<void()> on_open = [] {};
  std::function<Delivery(const Batch&)> on_write = [](const Batch&) { return Delivery{}; };
  std::function<void()> on_flush = [] {};
  std::function<void()> on_idle = [] {};

  std::vector<std::pair<Signal, size_t>> accepted;  // signal and number of records
  uint64_t writes = 0;
  uint64_t opens = 0;
  uint64_t flushes = 0;
  uint64_t idles = 0;
  uint64_t closes = 0;
};

class TestSink final : public Sink {
 public:
  explicit TestSink(Backend& backend) : backend_(backend) {}

  void open() override {
    ++backend_.opens;
    backend_.on_open();
  }

  Delivery write(const Batch& batch) override {
    ++backend_.writes;
    Delivery delivery = backend_.on_write(batch);
    if (delivery.outcome == Delivery::Outcome::accepted) {
      backend_.accepted.emplace_back(batch.signal, batch.records());
    }
    return delivery;
  }

  void flush() override {
    ++backend_.flushes;
    backend_.on_flush();
  }

  void idle(const Now&) override {
    ++backend_.idles;
    backend_.on_idle();
  }

  void close() noexcept override { ++backend_.closes; }

 private:
  Backend& backend_;
};

inline Delivery refuse(Delivery::Outcome outcome) {
  return {.outcome = outcome, .error = "refused"};
}

inline uint64_t dropped(const SinkSnapshot& snapshot, Signal signal) {
  uint64_t sum = 0;
  for (const uint64_t n : snapshot.dropped[static_cast<size_t>(signal)]) sum += n;
  return sum;
}

inline uint64_t dropped(const SinkSnapshot& snapshot, Signal signal, Reason reason) {
  return snapshot.dropped[static_cast<size_t>(signal)][static_cast<size_t>(reason)];
}

/// received = delivered + filtered + dropped + queued, for each signal.
inline bool is_balanced(const SinkSnapshot& snapshot) {
  for (size_t i = 0; i < kSignalCount; ++i) {
    const uint64_t known = snapshot.delivered[i] + snapshot.filtered[i] +
                           dropped(snapshot, static_cast<Signal>(i)) + snapshot.queue_records[i];
    if (snapshot.received[i] != known) return false;
  }
  return true;
}

}  // namespace insight::test
