// SPDX-License-Identifier: Apache-2.0
#include "bus/aggregate/contribution.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "bus/base/text.hpp"

namespace insight {

namespace {

bool is_total(double value) noexcept {
  return value >= 0 && value <= std::numeric_limits<double>::max();
}

}  // namespace

uint64_t add_bounded(uint64_t a, uint64_t b) noexcept {
  return a > std::numeric_limits<uint64_t>::max() - b ? std::numeric_limits<uint64_t>::max()
                                                      : a + b;
}

std::string describe(const Incarnation& incarnation) {
  std::string out;
  for (const char* key : {"service.name", "host.name", "process.pid"}) {
    const Scalar* value = incarnation.resource.find(key);
    if (!out.empty()) out += '/';
    out += value != nullptr ? to_text(*value) : "?";
  }
  return out + " (" + to_hex(incarnation.id.view().substr(0, 4)) + ")";
}

void HistogramTotals::add(const HistogramTotals& other, const HistogramTotals& base) {
  buckets.resize(std::max(buckets.size(), other.buckets.size()));
  for (size_t i = 0; i < other.buckets.size(); ++i) {
    const uint64_t uncounted = i < base.buckets.size() ? base.buckets[i] : 0;
    buckets[i] = add_bounded(buckets[i], other.buckets[i] - uncounted);
  }
  sum += other.sum - base.sum;
}

bool fold_bounds(const std::vector<double>& merged, const std::vector<double>& bounds,
                 std::vector<uint16_t>& fold) {
  fold.clear();
  if (merged == bounds) return true;
  if (!std::ranges::includes(bounds, merged)) return false;
  for (double bound : bounds) {
    const auto at = std::ranges::lower_bound(merged, bound);
    fold.push_back(static_cast<uint16_t>(at - merged.begin()));
  }
  fold.push_back(static_cast<uint16_t>(merged.size()));
  return true;
}

Taken take_counter(Contribution& to, double value, bool& changed) noexcept {
  if (!is_total(value)) return Taken::bad_value;
  if (value < to.value) return Taken::regress;
  if (value != to.value) {
    to.value = value;
    changed = true;
  }
  return Taken::yes;
}

Taken take_counter_delta(Contribution& to, double value, bool& changed) noexcept {
  if (!is_total(value) || !is_total(to.value + value)) return Taken::bad_value;
  to.value += value;
  changed = changed || value != 0;
  return Taken::yes;
}

Taken take_gauge(Contribution& to, double value, uint64_t& arrivals, bool& changed) noexcept {
  // A refresh repeats the value: it must not pass for a newer change than another publisher's.
  if (to.arrival != 0 && std::bit_cast<uint64_t>(value) == std::bit_cast<uint64_t>(to.value)) {
    return Taken::yes;
  }
  to.value = value;
  to.arrival = ++arrivals;
  changed = true;
  return Taken::yes;
}

Taken take_histogram(Contribution& to, const Point& point, const std::vector<double>& merged_bounds,
                     bool& changed) {
  HistogramPart& part = *to.histogram;
  if (point.histogram == nullptr || !std::isfinite(point.histogram->sum)) return Taken::bad_value;
  const HistogramValue& value = *point.histogram;
  const Family& family = *point.series->family;
  if (value.buckets.size() != family.bounds.size() + 1) return Taken::schema;
  if (part.family != &family) {
    std::vector<uint16_t> fold;
    if (!fold_bounds(merged_bounds, family.bounds, fold)) return Taken::schema;
    part.fold = std::move(fold);
    part.family = &family;
  }

  std::vector<uint64_t>& buckets = part.value.buckets;
  if (to.taking == Taking::histogram_delta) {
    if (!std::isfinite(part.value.sum + value.sum)) return Taken::bad_value;
    for (size_t i = 0; i < value.buckets.size(); ++i) {
      uint64_t& bucket = buckets[part.fold.empty() ? i : part.fold[i]];
      bucket = add_bounded(bucket, value.buckets[i]);
    }
    part.value.sum += value.sum;
    changed = changed || value.count != 0;
    return Taken::yes;
  }

  // Summed twice instead of into a scratch vector: first to see that no bucket falls, then for
  // good.  A fold is ascending, so the buckets of one merged bucket lie side by side.
  const auto folded = [&](size_t bucket, size_t& at) {
    if (part.fold.empty()) return value.buckets[bucket];
    uint64_t sum = 0;
    for (; at < part.fold.size() && part.fold[at] == bucket; ++at) {
      sum = add_bounded(sum, value.buckets[at]);
    }
    return sum;
  };
  bool differs = value.sum != part.value.sum;
  for (size_t i = 0, at = 0; i < buckets.size(); ++i) {
    const uint64_t count = folded(i, at);
    if (count < buckets[i]) return Taken::regress;
    differs = differs || count != buckets[i];
  }
  if (!differs) return Taken::yes;
  for (size_t i = 0, at = 0; i < buckets.size(); ++i) buckets[i] = folded(i, at);
  part.value.sum = value.sum;
  changed = true;
  return Taken::yes;
}

}  // namespace insight
