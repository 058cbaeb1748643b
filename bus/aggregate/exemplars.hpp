// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "bus/model/batch.hpp"

namespace insight {

/// The newest exemplar, by the time that it says, of each bucket of one series that has had one.  A
/// counter has one bucket.  Value.
class Exemplars {
 public:
  struct Entry {
    uint32_t bucket = 0;
    Exemplar exemplar;
  };

  /// Keeps one in the place of an older one; false when its bucket has none yet.
  bool replace(uint32_t bucket, const Exemplar& exemplar);

  /// Keeps the first one of a bucket.
  void add(uint32_t bucket, const Exemplar& exemplar);

  /// The buckets that have one, ascending.
  const std::vector<Entry>& entries() const noexcept { return entries_; }

 private:
  std::vector<Entry> entries_;
};

}  // namespace insight
