// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <limits>

#include "bus/base/clock.hpp"
#include "bus/model/batch.hpp"
#include <insight/insight.hpp>

namespace insight::native {

/// The largest observation made inside of a span since the last one was sent, with the ids of that
/// span.  Thread-safe; no call waits: who meets another in here goes on without, an exemplar being
/// a sample.
class ExemplarSlot {
 public:
  /// Whether it would be the largest.
  bool wants(double value) const noexcept {
    return value > largest_.load(std::memory_order_relaxed);
  }

  void offer(double value, const SpanContext& span) noexcept {
    if (!wants(value) || !enter()) return;
    if (wants(value)) {
      exemplar_ = {.value = value,
                   .time_ns = wall_now_ns(),
                   .trace_id = span.trace_id,
                   .span_id = span.span_id};
      ++version_;
      largest_.store(value, std::memory_order_relaxed);
    }
    leave();
  }

  /// The version of what it copied; 0: there was nothing to copy.
  uint64_t read(Exemplar& exemplar) noexcept {
    if (largest_.load(std::memory_order_relaxed) == kNone || !enter()) return 0;
    exemplar = exemplar_;
    const uint64_t version = largest_.load(std::memory_order_relaxed) == kNone ? 0 : version_;
    leave();
    return version;
  }

  /// That version was sent.
  void forget(uint64_t version) noexcept {
    if (!enter()) return;
    if (version_ == version) largest_.store(kNone, std::memory_order_relaxed);
    leave();
  }

  /// In a forked child: whoever was in here is not in this process.
  void restart() noexcept {
    largest_.store(kNone, std::memory_order_relaxed);
    leave();
  }

 private:
  static constexpr double kNone = -std::numeric_limits<double>::infinity();

  bool enter() noexcept {
    return !is_taken_.exchange(true, std::memory_order_acquire);  // pairs with leave()
  }

  void leave() noexcept { is_taken_.store(false, std::memory_order_release); }

  std::atomic<double> largest_{kNone};  // written by who has entered
  std::atomic<bool> is_taken_{false};

  // For who has entered.
  Exemplar exemplar_;
  uint64_t version_ = 0;
};

}  // namespace insight::native
