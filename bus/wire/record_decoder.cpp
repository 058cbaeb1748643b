// SPDX-License-Identifier: Apache-2.0
#include "bus/wire/record_decoder.hpp"

#include <limits>

#include "bus/base/text.hpp"
#include "bus/wire/limits.hpp"

namespace insight::wire {
namespace {

using Type = Token::Type;

// The first thing that is wrong with a record is its reason.
void refuse(std::optional<Reason>& refused, Reason reason) {
  if (!refused) refused = reason;
}

// Reads a non-zero id of exactly that many bytes.
template <size_t N>
bool to_id(const Token& token, std::array<unsigned char, N>& id) {
  return to_bytes(token, id.data(), N) && id != std::array<unsigned char, N>{};
}

bool to_int32(const Token& token, int32_t& value) {
  int64_t wide = 0;
  if (!to_int(token, wide) || wide < std::numeric_limits<int32_t>::min() ||
      wide > std::numeric_limits<int32_t>::max()) {
    return false;
  }
  value = int32_t(wide);
  return true;
}

}  // namespace

void RecordDecoder::start(size_t tokens, uint64_t wall_now_ns) {
  tokens_ = tokens;
  wall_now_ns_ = wall_now_ns;
  families.clear();
  points.clear();
  span_views.clear();
  counts_.clear();
  attributes_.clear();
  events_.clear();
  links_.clear();
}

// A time, at most kMaxAheadNs ahead of the broker's clock.
bool RecordDecoder::time(const Token& token, uint64_t& out, std::optional<Reason>& refused) const {
  if (!to_uint(token, out) || (out > wall_now_ns_ && out - wall_now_ns_ > kMaxAheadNs)) {
    refuse(refused, Reason::bad_time);
    return false;
  }
  return true;
}

const char* RecordDecoder::metrics(const Token& met) {
  if (!met.is(Type::array)) return "met is no array";
  if (met.size > kMaxPoints) return "met has too many families";
  counts_.reserve(tokens_);
  const Token* entry = met.first();
  for (uint32_t i = 0; i < met.size; ++i, entry = entry->next()) {
    if (!entry->is(Type::array) || entry->size < 2) return "an entry of met is no pair";
    const Token& family = *entry->first();
    const Token& list = *family.next();
    if (!family.is(Type::bin)) return "a family is no bin";
    if (family.size > kMaxFamilyBytes) return "a family is too large";
    if (!list.is(Type::array)) return "the points of a family are no array";
    if (list.size > kMaxPoints - points.size()) return "there are too many points";
    const size_t begin = points.size();
    const Token* element = list.first();
    for (uint32_t j = 0; j < list.size; ++j, element = element->next()) {
      if (const char* error = point(*element)) return error;
    }
    families.push_back({family.text(), begin, points.size()});
  }
  return nullptr;
}

const char* RecordDecoder::point(const Token& token) {
  if (!token.is(Type::array) || token.size < 2) return "a point is no array of two or more";
  const Token& labels = *token.first();
  if (!labels.is(Type::bin)) return "the label values of a point are no bin";
  if (labels.size > kMaxLabelBytes) return "the label values of a point are too large";
  PointView& view = points.emplace_back();
  view.labels = labels.text();
  const Token* element = labels.next();
  if (to_number(*element, view.value)) {
    view.is_scalar = true;
  } else if (const char* error = value(*element, view)) {
    return error;
  }
  if (token.size > 2) {
    element = element->next();
    if (!element->is(Type::nil)) time(*element, view.time_ns, view.refused);
  }
  if (token.size > 3) {
    element = element->next();
    if (!element->is(Type::nil)) exemplar(*element, view);
  }
  return nullptr;
}

// The value of a histogram or of an exponential one; the third element tells which.
const char* RecordDecoder::value(const Token& token, PointView& view) {
  if (!token.is(Type::array) || token.size < 3) {
    refuse(view.refused, Reason::bad_value);
    return nullptr;
  }
  const Token* element = token.first();
  const auto take = [&element] {
    const Token* taken = element;
    element = element->next();
    return taken;
  };
  const auto range = [&](uint32_t fixed, double& min, double& max) {
    bool is_right = true;
    for (double* bound : {&min, &max}) {
      if (token.size <= fixed++) break;
      const Token* taken = take();
      is_right = (taken->is(Type::nil) || to_number(*taken, *bound)) && is_right;
    }
    return is_right;
  };

  bool is_right = true;
  const Token* count = take();
  const Token* sum = take();
  if (element->is(Type::array)) {
    HistogramValue& histogram = view.histogram.emplace();
    is_right = to_uint(*count, histogram.count) && to_number(*sum, histogram.sum);
    if (const char* error = buckets(*take(), histogram.buckets, is_right)) return error;
    is_right = range(3, histogram.min, histogram.max) && is_right;
  } else if (token.size >= 8) {
    ExpHistogramValue& histogram = view.exponential.emplace();
    is_right = to_uint(*count, histogram.count) && to_number(*sum, histogram.sum);
    is_right = to_uint(*take(), histogram.zero_count) && is_right;
    is_right = to_int32(*take(), histogram.scale) && is_right;
    is_right = to_int32(*take(), histogram.positive_offset) && is_right;
    if (const char* error = buckets(*take(), histogram.positive, is_right)) return error;
    is_right = to_int32(*take(), histogram.negative_offset) && is_right;
    if (const char* error = buckets(*take(), histogram.negative, is_right)) return error;
    is_right = range(8, histogram.min, histogram.max) && is_right;
  } else {
    is_right = false;
  }
  if (!is_right) refuse(view.refused, Reason::bad_value);
  return nullptr;
}

const char* RecordDecoder::buckets(const Token& token, std::span<const uint64_t>& out,
                                   bool& is_right) {
  if (!token.is(Type::array)) {
    is_right = false;
    return nullptr;
  }
  if (token.size > kMaxBuckets) return "a histogram has too many buckets";
  const size_t begin = counts_.size();
  const Token* element = token.first();
  for (uint32_t i = 0; i < token.size; ++i, element = element->next()) {
    is_right = to_uint(*element, counts_.emplace_back()) && is_right;
  }
  out = std::span<const uint64_t>(counts_).subspan(begin);
  return nullptr;
}

void RecordDecoder::exemplar(const Token& token, PointView& view) {
  if (!token.is(Type::array) || token.size < 4) return refuse(view.refused, Reason::bad_value);
  const Token* number = token.first();
  const Token* when = number->next();
  const Token* trace = when->next();
  Exemplar exemplar;
  if (!to_number(*number, exemplar.value)) return refuse(view.refused, Reason::bad_value);
  if (!time(*when, exemplar.time_ns, view.refused)) return;
  if (!to_id(*trace, exemplar.trace_id) || !to_id(*trace->next(), exemplar.span_id)) {
    return refuse(view.refused, Reason::bad_id);
  }
  view.exemplar = exemplar;
}

const char* RecordDecoder::spans(const Token& spn) {
  if (!spn.is(Type::array)) return "spn is no array";
  if (spn.size > kMaxSpans) return "there are too many spans";
  // An attribute takes two objects, an event or a link four.
  attributes_.reserve(tokens_ / 2);
  events_.reserve(tokens_ / 4);
  links_.reserve(tokens_ / 4);
  const Token* element = spn.first();
  for (uint32_t i = 0; i < spn.size; ++i, element = element->next()) {
    if (const char* error = span(*element)) return error;
  }
  return nullptr;
}

const char* RecordDecoder::span(const Token& token) {
  if (!token.is(Type::array) || token.size < 10) return "a span is no array of ten or more";
  SpanView& view = span_views.emplace_back();
  const Token* element = token.first();
  const auto take = [&element] {
    const Token* taken = element;
    element = element->next();
    return taken;
  };

  const Token* what = take();
  bool is_known = false;
  for (SpanWhat each : {SpanWhat::span, SpanWhat::begin, SpanWhat::open, SpanWhat::end}) {
    if (!what->is(Type::str) || what->text() != to_string(each)) continue;
    view.span.what = each;
    is_known = true;
  }
  if (!is_known) refuse(view.refused, Reason::bad_value);
  if (!to_id(*take(), view.span.trace_id)) refuse(view.refused, Reason::bad_id);
  if (!to_id(*take(), view.span.span_id)) refuse(view.refused, Reason::bad_id);
  const Token* parent = take();
  view.span.has_parent = !parent->is(Type::nil);
  if (view.span.has_parent && !to_id(*parent, view.span.parent_id)) {
    refuse(view.refused, Reason::bad_id);
  }
  if (const char* error = text(*take(), view.span.name, view)) return error;
  if (const char* error = text(*take(), view.span.lane, view)) return error;
  const Token* start = take();
  times(*start, *take(), view);
  uint64_t status = 0;
  if (to_uint(*take(), status) && status <= uint64_t(SpanStatus::error)) {
    view.span.status = SpanStatus(status);
  } else {
    refuse(view.refused, Reason::bad_value);
  }
  if (const char* error = attributes(*take(), view.span.attributes, view)) return error;
  if (token.size > 10) {
    if (const char* error = events(*take(), view)) return error;
  }
  return token.size > 11 ? links(*take(), view) : nullptr;
}

void RecordDecoder::times(const Token& start, const Token& end, SpanView& view) {
  if (!time(start, view.span.start_ns, view.refused)) return;
  const bool must_end = view.span.what == SpanWhat::span || view.span.what == SpanWhat::end;
  if (end.is(Type::nil)) {
    if (must_end) refuse(view.refused, Reason::bad_time);
    return;
  }
  if (!time(end, view.span.end_ns, view.refused)) return;
  if (!must_end || view.span.end_ns == 0 || view.span.end_ns < view.span.start_ns) {
    refuse(view.refused, Reason::bad_time);
  }
}

const char* RecordDecoder::text(const Token& token, std::string_view& out, SpanView& view) {
  if (!token.is(Type::str)) return refuse(view.refused, Reason::bad_value), nullptr;
  if (token.size > kMaxNameBytes) return "a name in a span is too long";
  if (!is_utf8(token.text())) refuse(view.refused, Reason::bad_value);
  out = token.text();
  return nullptr;
}

const char* RecordDecoder::attributes(const Token& token, std::span<const Attribute>& out,
                                      SpanView& view) {
  if (!token.is(Type::map)) return refuse(view.refused, Reason::bad_value), nullptr;
  if (const char* error = check_keys(token, kMaxAttributes)) return error;
  const size_t begin = attributes_.size();
  const Token* key = token.first();
  for (uint32_t i = 0; i < token.size; ++i) {
    const Token* element = key->next();
    Attribute& attribute = attributes_.emplace_back();
    attribute.key = key->text();
    if (element->is(Type::str) && element->size > kMaxStringBytes) {
      return "a string in a span is too long";
    }
    const bool is_right = to_scalar<std::string_view>(*element, attribute.value);
    if (!is_right || !is_utf8(key->text())) refuse(view.refused, Reason::bad_value);
    key = element->next();
  }
  out = std::span<const Attribute>(attributes_).subspan(begin);
  return nullptr;
}

const char* RecordDecoder::events(const Token& token, SpanView& view) {
  if (token.is(Type::nil)) return nullptr;
  if (!token.is(Type::array)) return refuse(view.refused, Reason::bad_value), nullptr;
  if (token.size > kMaxEvents) return "a span has too many events";
  const size_t begin = events_.size();
  const Token* element = token.first();
  for (uint32_t i = 0; i < token.size; ++i, element = element->next()) {
    if (!element->is(Type::array) || element->size < 3) {
      refuse(view.refused, Reason::bad_value);
      continue;
    }
    SpanEvent& event = events_.emplace_back();
    const Token* when = element->first();
    time(*when, event.time_ns, view.refused);
    const Token* name = when->next();
    if (const char* error = text(*name, event.name, view)) return error;
    if (const char* error = attributes(*name->next(), event.attributes, view)) return error;
  }
  view.span.events = std::span<const SpanEvent>(events_).subspan(begin);
  return nullptr;
}

const char* RecordDecoder::links(const Token& token, SpanView& view) {
  if (token.is(Type::nil)) return nullptr;
  if (!token.is(Type::array)) return refuse(view.refused, Reason::bad_value), nullptr;
  if (token.size > kMaxLinks) return "a span has too many links";
  const size_t begin = links_.size();
  const Token* element = token.first();
  for (uint32_t i = 0; i < token.size; ++i, element = element->next()) {
    if (!element->is(Type::array) || element->size < 3) {
      refuse(view.refused, Reason::bad_value);
      continue;
    }
    SpanLink& link = links_.emplace_back();
    const Token* trace = element->first();
    const Token* span_id = trace->next();
    if (!to_id(*trace, link.trace_id)) refuse(view.refused, Reason::bad_id);
    if (!to_id(*span_id, link.span_id)) refuse(view.refused, Reason::bad_id);
    if (const char* error = attributes(*span_id->next(), link.attributes, view)) return error;
  }
  view.span.links = std::span<const SpanLink>(links_).subspan(begin);
  return nullptr;
}

}  // namespace insight::wire
