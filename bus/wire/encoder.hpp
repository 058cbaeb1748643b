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
  void point(std::string_view label_bytes, const HistogramValue& value);

  /// Spans: elements that encode_span made.
  void span(std::string_view encoded);

  /// Bytes so far; keep it with what follows below kMaxEnvelopeBytes.
  size_t bytes() const noexcept;
  size_t records() const noexcept;

  /// Stamps `sent` and `mono` (of fixed width, patched in place) and gives the message, valid until
  /// start().
  std::string_view finish(const Now& now);

 private:
  std::string head_;
  std::string body_;
  std::string message_;
  size_t records_ = 0;
};

}  // namespace insight::wire
