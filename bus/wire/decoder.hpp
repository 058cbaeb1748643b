// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "bus/base/result.hpp"
#include "bus/model/batch.hpp"
#include "bus/model/incarnation.hpp"
#include "bus/model/reason.hpp"
#include "bus/model/resource.hpp"

namespace insight::wire {

/// A point before its series is known.  The views lead into the message or the decoder.
struct PointView {
  std::string_view labels;        ///< P([values]), opaque
  std::optional<Reason> refused;  ///< set: this point alone is dropped
  uint64_t time_ns = 0;           ///< 0: not said
  double value = 0;               ///< a scalar
  bool is_scalar = false;         ///< else one of the two below is set
  std::optional<HistogramValue> histogram;
  std::optional<ExpHistogramValue> exponential;
  std::optional<Exemplar> exemplar;
};

struct FamilyView {
  std::string_view family;  ///< P(family), opaque
  size_t begin = 0;         ///< its points: [begin, end) of EnvelopeView::points
  size_t end = 0;
};

struct SpanView {
  std::optional<Reason> refused;  ///< set: this span alone is dropped
  Span span;                      ///< views lead into the message or the decoder
};

enum class LifeEvent : uint8_t { none, hello, beat, bye };

/// A decoded envelope.  Valid until the decoder decodes the next one and while the message's bytes
/// live.
struct EnvelopeView {
  IncarnationId inc;
  uint64_t seq = 0;
  uint64_t t0_ns = 0;
  uint64_t sent_ns = 0;
  std::string_view resource;  ///< P(resource), opaque
  std::optional<uint64_t> mono_ns;
  std::optional<std::array<unsigned char, 16>> boot;
  std::optional<std::pair<int64_t, uint64_t>> clock;  ///< offset and error, ns
  uint64_t oldest_ns = 0;                             ///< 0: not said
  uint64_t every_ms = 0;                              ///< the default where not said; in range
  LifeEvent life = LifeEvent::none;
  std::span<const FamilyView> families;
  std::span<const PointView> points;
  std::span<const SpanView> spans;
  bool has_metrics = false;
  bool has_spans = false;
  std::span<const std::pair<std::string_view, uint64_t>> accounts;
  std::span<const std::array<unsigned char, 16>> via;
};

/// Why a whole message is refused: malformed, version, foreign or too_large, and a sentence for a
/// log.
struct Refusal {
  Reason reason = Reason::malformed;
  std::string_view detail;
};

/// Decodes envelopes of version 1 from hostile bytes.  Thread-bound; its memory is used again for
/// each message, so a steady stream allocates nothing for a record.  Never throws on input.
class Decoder {
 public:
  Decoder();
  ~Decoder();
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  /// Structure and limits decide over the message; a bad point or span only over itself.
  /// `wall_now_ns` is the broker's clock: a record from too far ahead of it is `bad_time`.
  Result<const EnvelopeView*, Refusal> decode(std::string_view message, uint64_t wall_now_ns);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Reads P(family).  `bad_family` when it is none; `unknown_kind` when only its kind is.
Result<Family, Reason> decode_family(std::string_view bytes);

/// What is wrong with a point that was not refused, now that its family is known; nothing when it
/// is right.  Also says `bad_value` when it is of another kind than the family.
std::optional<Reason> check_value(const Family& family, const PointView& point) noexcept;

/// Reads P([label values]) for a family with `count` label keys into `values` (views into `bytes`).
/// False: not that many strings, a bad one, or over a limit (`bad_value`).
bool decode_labels(std::string_view bytes, size_t count, std::vector<std::string_view>& values);

/// Reads P(resource); sorted by key.
Result<Resource, Refusal> decode_resource(std::string_view bytes);

}  // namespace insight::wire
