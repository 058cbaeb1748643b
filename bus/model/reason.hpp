// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace insight {

/// Why a record or an envelope was not taken.  The text of each is the value of the label `reason`.
enum class Reason : uint8_t {
  // Whole envelopes.
  malformed,
  version,
  foreign,
  multipart,
  too_large,
  duplicate,
  // Single records, at ingress.
  bad_family,
  bad_value,
  bad_time,
  bad_id,
  unknown_kind,
  cardinality,
  late,
  // Single records, in an Aggregate.
  conflict,
  schema,
  regress,
  unsupported,
  // Batches, in a SinkWorker.
  queue_full,
  gave_up,
  rejected,
  stopped,
  count_  // number of reasons
};

inline constexpr size_t kReasonCount = static_cast<size_t>(Reason::count_);

/// "malformed" and so on.
std::string_view to_string(Reason reason) noexcept;

/// Records (or envelopes) not taken, by reason.  Thread-safe.
class ReasonCounts {
 public:
  void add(Reason reason, uint64_t n = 1) noexcept {
    counts_[static_cast<size_t>(reason)].fetch_add(n, std::memory_order_relaxed);
  }

  uint64_t get(Reason reason) const noexcept {
    return counts_[static_cast<size_t>(reason)].load(std::memory_order_relaxed);
  }

  uint64_t total() const noexcept {
    uint64_t sum = 0;
    for (const auto& count : counts_) sum += count.load(std::memory_order_relaxed);
    return sum;
  }

 private:
  std::array<std::atomic<uint64_t>, kReasonCount> counts_{};
};

}  // namespace insight
