// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bus/base/clock.hpp"
#include "bus/model/batch.hpp"
#include "bus/model/incarnation.hpp"
#include "bus/model/resource.hpp"
#include "bus/model/series.hpp"
#include "bus/wire/decoder.hpp"

namespace insight::wire {

/// P(family), P([label values]), P(resource): made once, then sent as they are.
std::string encode_family(const Family& family);
std::string encode_labels(std::span<const std::string_view> values);
std::string encode_resource(const Resource& resource);

/// One span as the element of `spn`, appended to `out`.
void encode_span(const Span& span, std::string& out);

/// What every envelope of an incarnation carries.
struct EnvelopeHead {
  IncarnationId inc;
  uint64_t seq = 0;
  uint64_t t0_ns = 0;
  std::string_view resource;  ///< P(resource)
  std::optional<std::array<unsigned char, 16>> boot;
  uint64_t oldest_ns = 0;  ///< 0: left out
  uint64_t every_ms = 0;   ///< 0: left out
  LifeEvent life = LifeEvent::none;
  std::span<const std::pair<std::string_view, uint64_t>> accounts;
};

/// Writes one envelope into a buffer that is used again.  Thread-bound.
///
///     writer.start(head);
///     writer.family(family_bytes);
///     writer.point(label_bytes, 42.0);
///     std::string_view message = writer.finish(now);
class EnvelopeWriter {
 public:
  /// Begins a new envelope; what was not finished is forgotten.
  void start(const EnvelopeHead& head);

  /// Metrics: a family, then its points.  Never together with spans.
  void family(std::string_view family_bytes);
  void point(std::string_view label_bytes, double value);
  void point(std::string_view label_bytes, const HistogramValue& value,
             const Exemplar* exemplar = nullptr);

  /// Spans: elements that encode_span made.
  void span(std::string_view encoded);

  /// Bytes so far; keep it with what follows (`*_bytes()` below) at most kMaxEnvelopeBytes.
  size_t bytes() const noexcept { return message_.size(); }

  /// Points and spans so far.
  size_t records() const noexcept { return records_; }

  /// The most that one more element can take, a histogram with its exemplar.  A span takes the size
  /// of its encoding.
  static constexpr size_t family_bytes(size_t packed_family) { return packed_family + 24; }

  static constexpr size_t point_bytes(size_t packed_labels) { return packed_labels + 16; }

  static constexpr size_t histogram_bytes(size_t packed_labels, size_t buckets) {
    return packed_labels + 96 + 9 * buckets;
  }

  /// Stamps `sent` and `mono` and gives the message, valid until start().  Called again, it stamps
  /// the same envelope anew.
  std::string_view finish(const Now& now);

 private:
  void begin_body(std::string_view key);
  void close_family();

  // Numbers that are known at the end have a fixed width and are patched in place.
  std::string message_;
  size_t sent_at_ = 0;
  size_t mono_at_ = 0;
  size_t elements_at_ = 0;  ///< length of `met` or `spn`; 0: neither is there yet
  size_t points_at_ = 0;    ///< length of the open family's array of points; 0: none is open
  uint32_t keys_ = 0;
  uint32_t elements_ = 0;
  uint32_t points_ = 0;
  size_t records_ = 0;
};

}  // namespace insight::wire
