// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bus/model/batch.hpp"
#include "bus/wire/decoder.hpp"
#include "bus/wire/tape.hpp"

/// Points and spans of one envelope.  For the .cpp files of this folder only.
namespace insight::wire {

/// Thread-bound.  The functions return what makes the whole envelope malformed, else null; what is
/// wrong with one record stands in its view.
class RecordDecoder {
 public:
  /// Forgets the records of the envelope before.  The views lead into arrays that must not move
  /// while they are filled, so room is taken for as many elements as `tokens` can hold.
  void start(size_t tokens, uint64_t wall_now_ns);

  const char* metrics(const Token& met);
  const char* spans(const Token& spn);

  std::vector<FamilyView> families;
  std::vector<PointView> points;
  std::vector<SpanView> span_views;

 private:
  const char* point(const Token& token);
  const char* value(const Token& token, PointView& view);
  const char* buckets(const Token& token, std::span<const uint64_t>& out, bool& is_right);
  void exemplar(const Token& token, PointView& view);

  const char* span(const Token& token);
  const char* text(const Token& token, std::string_view& out, SpanView& view);
  const char* attributes(const Token& token, std::span<const Attribute>& out, SpanView& view);
  const char* events(const Token& token, SpanView& view);
  const char* links(const Token& token, SpanView& view);
  void times(const Token& start, const Token& end, SpanView& view);
  bool time(const Token& token, uint64_t& out, std::optional<Reason>& refused) const;

  uint64_t wall_now_ns_ = 0;
  size_t tokens_ = 0;
  std::vector<uint64_t> counts_;
  std::vector<Attribute> attributes_;
  std::vector<SpanEvent> events_;
  std::vector<SpanLink> links_;
};

}  // namespace insight::wire
