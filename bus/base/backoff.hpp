// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>

namespace insight {

/// Waits that double from `initial_ns` to `max_ns`, each drawn between half and whole so that many
/// waiters do not return at once.  Thread-bound.
class Backoff {
 public:
  Backoff(uint64_t initial_ns, uint64_t max_ns, uint64_t seed)
      : initial_ns_(initial_ns), max_ns_(max_ns), random_(seed) {}

  /// The next wait.
  uint64_t next_ns() {
    uint64_t whole = next_ns_ == 0 ? initial_ns_ : next_ns_;
    whole = std::min(whole, max_ns_);
    next_ns_ = std::min(max_ns_, whole * 2);
    return whole / 2 + random_() % (whole - whole / 2 + 1);
  }

  void reset() noexcept { next_ns_ = 0; }

 private:
  uint64_t initial_ns_;
  uint64_t max_ns_;
  uint64_t next_ns_ = 0;
  std::minstd_rand random_;
};

}  // namespace insight
