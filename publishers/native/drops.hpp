// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace insight::native {

/// Why something was not kept at the source.
enum class Drop : uint8_t {
  bad_value,       ///< a value that a counter or histogram does not take
  bad_name,        ///< a registration under a name that is none
  bad_bounds,      ///< a registration with more bounds than a family holds
  bad_label,       ///< a registration with labels that are not valid; overflows
  conflict,        ///< a registration under a name in use for another kind or other bounds
  series_limit,    ///< a registration of a further metric beyond the limits
  memory,          ///< a call for which there was no memory
  resource,        ///< a resource attribute beyond the limits
  span_buffer,     ///< a span for which its thread's ring had no room
  span_attribute,  ///< an attribute of a span, an event or a link beyond the limits
  span_event,      ///< a span's event beyond the limits
  span_link,       ///< a span's link beyond the limits, or to nothing
  state_limit,     ///< a state beyond the limits: recorded as a span when it ends
  closed,          ///< a span that ended after close()
  count_           // number of reasons
};

inline constexpr size_t kDropCount = static_cast<size_t>(Drop::count_);

/// "drop.bad_value" and so on: the keys of `acc`.
inline constexpr std::array<std::string_view, kDropCount> kDropNames{
    "drop.bad_value",   "drop.bad_name",       "drop.bad_bounds", "drop.bad_label",
    "drop.conflict",    "drop.series_limit",   "drop.memory",     "drop.resource",
    "drop.span_buffer", "drop.span_attribute", "drop.span_event", "drop.span_link",
    "drop.state_limit", "drop.closed",
};

/// Cumulative since the start of the incarnation.  Thread-safe.
class Drops {
 public:
  void add(Drop reason) noexcept {
    counts_[static_cast<size_t>(reason)].fetch_add(1, std::memory_order_relaxed);
  }

  uint64_t get(Drop reason) const noexcept {
    return counts_[static_cast<size_t>(reason)].load(std::memory_order_relaxed);
  }

  void clear() noexcept {
    for (auto& count : counts_) count.store(0, std::memory_order_relaxed);
  }

 private:
  std::array<std::atomic<uint64_t>, kDropCount> counts_{};
};

}  // namespace insight::native
