// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

#include "bus/base/arena.hpp"
#include "bus/model/incarnation.hpp"
#include "bus/model/series.hpp"

namespace insight {

enum class Signal : uint8_t { metrics, spans };
inline constexpr size_t kSignalCount = 2;

std::string_view to_string(Signal signal) noexcept;

struct HistogramValue {
  uint64_t count = 0;
  double sum = 0;
  std::span<const uint64_t> buckets;  ///< not cumulative; one more than bounds
  double min = std::numeric_limits<double>::quiet_NaN();
  double max = std::numeric_limits<double>::quiet_NaN();
};

struct ExpHistogramValue {
  uint64_t count = 0;
  double sum = 0;
  uint64_t zero_count = 0;
  int32_t scale = 0;
  int32_t positive_offset = 0;
  std::span<const uint64_t> positive;
  int32_t negative_offset = 0;
  std::span<const uint64_t> negative;
  double min = std::numeric_limits<double>::quiet_NaN();
  double max = std::numeric_limits<double>::quiet_NaN();
};

struct Exemplar {
  double value = 0;
  uint64_t time_ns = 0;
  std::array<unsigned char, 16> trace_id{};
  std::array<unsigned char, 8> span_id{};
};

/// One value of one series.  The pointers lead into the batch's arena.
struct Point {
  const Series* series = nullptr;
  uint64_t time_ns = 0;  ///< as the publisher said, else when its envelope was sent
  double value = 0;      ///< counter, gauge
  const HistogramValue* histogram = nullptr;
  const ExpHistogramValue* exponential = nullptr;
  const Exemplar* exemplar = nullptr;
  bool changed = true;  ///< false: the same value was sent before (a refresh)
};

using AttributeValue = std::variant<std::string_view, int64_t, uint64_t, double, bool>;

struct Attribute {
  std::string_view key;
  AttributeValue value;
};

struct SpanEvent {
  uint64_t time_ns = 0;
  std::string_view name;
  std::span<const Attribute> attributes;
};

struct SpanLink {
  std::array<unsigned char, 16> trace_id{};
  std::array<unsigned char, 8> span_id{};
  std::span<const Attribute> attributes;
};

/// span: a finished interval.  begin, open, end: a state as it goes on.
enum class SpanWhat : uint8_t { span, begin, open, end };
enum class SpanStatus : uint8_t { unset, ok, error };

std::string_view to_string(SpanWhat what) noexcept;
std::string_view to_string(SpanStatus status) noexcept;

/// One interval of one lane.  All views lead into the batch's arena.
struct Span {
  SpanWhat what = SpanWhat::span;
  SpanStatus status = SpanStatus::unset;
  bool has_parent = false;
  std::array<unsigned char, 16> trace_id{};
  std::array<unsigned char, 8> span_id{};
  std::array<unsigned char, 8> parent_id{};
  std::string_view name;
  std::string_view lane;
  uint64_t start_ns = 0;
  uint64_t end_ns = 0;  ///< 0: not ended
  std::span<const Attribute> attributes;
  std::span<const SpanEvent> events;
  std::span<const SpanLink> links;
};

/// What one envelope brought: records [begin, end) of the batch.
struct Segment {
  std::shared_ptr<const Incarnation> incarnation;
  uint64_t seq = 0;
  uint64_t sent_ns = 0;    ///< the publisher's wall clock
  uint64_t oldest_ns = 0;  ///< the oldest record inside, on the publisher's wall clock; 0 unknown
  uint64_t received_mono_ns = 0;
  size_t begin = 0;
  size_t end = 0;
  uint64_t received_ns = 0;  ///< the broker's wall clock
  /// The message as it came, in the batch's arena; empty unless a sink has asked for it.  Then
  /// there is a segment also for an envelope of which no record is left (begin == end).
  std::string_view message;
};

/// What one or several envelopes brought: points or spans, never both.  Filled by one thread, then
/// immutable and shared as `shared_ptr<const Batch>`.
struct Batch {
  Signal signal = Signal::metrics;
  std::vector<Segment> segments;
  std::vector<Point> points;  ///< signal metrics
  std::vector<Span> spans;    ///< signal spans
  Arena arena;

  size_t records() const noexcept { return points.size() + spans.size(); }

  /// Bytes of memory that the batch holds.
  size_t bytes() const noexcept;
};

}  // namespace insight
