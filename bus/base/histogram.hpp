// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace insight {

/// Durations in seconds that the bus measures of itself, in fixed buckets from 10 us to 100 s.
/// Thread-safe: one relaxed add per observation.
class DurationHistogram {
 public:
  /// Upper bounds, inclusive, in seconds.
  static constexpr std::array<double, 22> kBounds = {
      1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2,
      5e-2, 0.1,    0.25, 0.5,  1,      2.5,  5,    10,     25,   50,   100};

  struct Snapshot {
    std::array<uint64_t, kBounds.size() + 1>
        buckets{};  ///< not cumulative; the last is above all bounds
    double sum_seconds = 0;
  };

  void observe_ns(uint64_t ns) noexcept {
    const double seconds = static_cast<double>(ns) * 1e-9;
    const auto bucket = static_cast<size_t>(
        std::lower_bound(kBounds.begin(), kBounds.end(), seconds) - kBounds.begin());
    buckets_[bucket].fetch_add(1, std::memory_order_relaxed);
    sum_ns_.fetch_add(ns, std::memory_order_relaxed);
  }

  Snapshot snapshot() const noexcept {
    Snapshot s;
    for (size_t i = 0; i < buckets_.size(); ++i) {
      s.buckets[i] = buckets_[i].load(std::memory_order_relaxed);
    }
    s.sum_seconds = static_cast<double>(sum_ns_.load(std::memory_order_relaxed)) * 1e-9;
    return s;
  }

 private:
  std::array<std::atomic<uint64_t>, kBounds.size() + 1> buckets_{};
  std::atomic<uint64_t> sum_ns_{0};
};

}  // namespace insight
