// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <charconv>
#include <type_traits>

#include "bus/model/batch.hpp"
#include "bus/model/incarnation.hpp"
#include "bus/model/resource.hpp"

namespace insight {

std::string to_text(const Scalar& scalar) {
  return std::visit(
      [](const auto& value) -> std::string {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, std::string>) {
          return value;
        } else if constexpr (std::is_same_v<T, bool>) {
          return value ? "true" : "false";
        } else {
          std::array<char, 32> digits;
          const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
          return {digits.data(), end};
        }
      },
      scalar);
}

const Scalar* Resource::find(std::string_view key) const noexcept {
  const auto at = std::lower_bound(
      attributes.begin(), attributes.end(), key,
      [](const auto& attribute, std::string_view k) { return attribute.first < k; });
  return at != attributes.end() && at->first == key ? &at->second : nullptr;
}

uint32_t SeriesIds::take() {
  const MutexLock lock(mutex_);
  if (free_.empty()) return next_++;
  const uint32_t id = free_.back();
  free_.pop_back();
  return id;
}

void SeriesIds::give_back(const std::deque<Series>& series) {
  const MutexLock lock(mutex_);
  for (const Series& one : series) free_.push_back(one.id);
}

size_t SeriesIds::in_use() const {
  const MutexLock lock(mutex_);
  return next_ - free_.size();
}

Incarnation::Incarnation(IncarnationId id_, uint64_t t0_ns_, Resource resource_, uint64_t every_ns,
                         std::shared_ptr<SeriesIds> ids)
    : id(id_),
      t0_ns(t0_ns_),
      resource(std::move(resource_)),
      every_ns_(every_ns),
      ids_(std::move(ids)) {}

Incarnation::~Incarnation() { ids_->give_back(series_); }

const Series& Incarnation::add_series(std::shared_ptr<const Family> family,
                                      std::span<const std::string_view> label_values) {
  if (family->name == kProgressMetric) has_progress_.store(true, std::memory_order_relaxed);
  Series series;
  series.id = ids_->take();
  series.incarnation = this;
  series.family = std::move(family);
  const std::span<std::string_view> values = labels_.take<std::string_view>(label_values.size());
  for (size_t i = 0; i < values.size(); ++i) values[i] = labels_.copy(label_values[i]);
  series.label_values = values;
  return series_.emplace_back(std::move(series));
}

size_t Incarnation::bytes() const noexcept {
  return series_.size() * sizeof(Series) + labels_.bytes();
}

size_t Batch::bytes() const noexcept {
  return sizeof(Batch) + segments.capacity() * sizeof(Segment) + points.capacity() * sizeof(Point) +
         spans.capacity() * sizeof(Span) + arena.bytes();
}

}  // namespace insight
