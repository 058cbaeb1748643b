// SPDX-License-Identifier: Apache-2.0
#include "bus/aggregate/exemplars.hpp"

#include <algorithm>

namespace insight {

bool Exemplars::replace(uint32_t bucket, const Exemplar& exemplar) {
  const auto at = std::ranges::lower_bound(entries_, bucket, {}, &Entry::bucket);
  if (at == entries_.end() || at->bucket != bucket) return false;
  if (exemplar.time_ns >= at->exemplar.time_ns) at->exemplar = exemplar;
  return true;
}

void Exemplars::add(uint32_t bucket, const Exemplar& exemplar) {
  const auto at = std::ranges::lower_bound(entries_, bucket, {}, &Entry::bucket);
  entries_.insert(at, {bucket, exemplar});
}

}  // namespace insight
