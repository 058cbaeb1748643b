// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>

#include "bus/base/spsc_ring.hpp"

namespace insight::native {

class Core;

/// The spans that one thread has ended for one publisher, encoded, on their way to its flush
/// thread. A record is the span's end time (8 bytes) and the element of `spn`.
struct SpanRing {
  explicit SpanRing(const Core* publisher) : core(publisher) {}

  static constexpr size_t kBytes = 256 << 10;

  const Core* const core;  ///< compared, never followed
  SpscRing ring{kBytes};
  std::atomic<bool> producer_gone{false};  ///< its thread has ended: free it when it is empty
  std::atomic<bool> consumer_gone{false};  ///< its publisher is closed
  std::atomic<bool> wake_asked{false};     ///< the flush thread was told that it fills up
};

}  // namespace insight::native
