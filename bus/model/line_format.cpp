// SPDX-License-Identifier: Apache-2.0
#include "bus/model/line_format.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <span>
#include <type_traits>
#include <variant>

namespace insight {

namespace {

constexpr std::string_view kHex = "0123456789abcdef";

/// True for bytes that a JSON string cannot hold as they are.
constexpr bool needs_escape(unsigned char c) { return c < 0x20 || c == '"' || c == '\\'; }

void put_escaped(std::string& out, unsigned char c) {
  switch (c) {
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\t':
      out += "\\t";
      return;
    default:
      out += "\\u00";
      out += kHex[c >> 4];
      out += kHex[c & 15];
  }
}

void put_string(std::string& out, std::string_view text) {
  out += '"';
  size_t from = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (!needs_escape(c)) continue;
    out.append(text, from, i - from);
    put_escaped(out, c);
    from = i + 1;
  }
  out.append(text, from);
  out += '"';
}

template <typename Int>
void put_integer(std::string& out, Int value) {
  std::array<char, 24> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  out.append(digits.data(), end);
}

/// The shortest digits that read back as the same number.
void put_double(std::string& out, double value) {
  if (std::isnan(value)) {
    out += "\"NaN\"";
  } else if (std::isinf(value)) {
    out += value > 0 ? "\"+Inf\"" : "\"-Inf\"";
  } else {
    std::array<char, 32> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
    out.append(digits.data(), end);
  }
}

/// A value of a metric, for which 2 equals 2.0: "100000", not "1e+05".
void put_value(std::string& out, double value) {
  constexpr double kExact = 1ULL << 53;
  if (std::abs(value) < kExact && std::trunc(value) == value) {
    put_integer(out, static_cast<int64_t>(value));
  } else {
    put_double(out, value);
  }
}

/// A value whose type is kept: 2.0 is not 2.
void put_typed_double(std::string& out, double value) {
  const size_t from = out.size();
  put_double(out, value);
  if (out.find_first_of(".eE\"", from) == std::string::npos) out += ".0";
}

template <typename Variant>
void put_scalar(std::string& out, const Variant& scalar) {
  std::visit(
      [&](const auto& value) {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, bool>) {
          out += value ? "true" : "false";
        } else if constexpr (std::is_same_v<T, double>) {
          put_typed_double(out, value);
        } else if constexpr (std::is_integral_v<T>) {
          put_integer(out, value);
        } else {
          put_string(out, value);
        }
      },
      scalar);
}

template <size_t size>
void put_id(std::string& out, const std::array<unsigned char, size>& id) {
  out += '"';
  for (const unsigned char byte : id) {
    out += kHex[byte >> 4];
    out += kHex[byte & 15];
  }
  out += '"';
}

/// `"name":` with a comma before it.  `name` needs no escape.
void put_key(std::string& out, std::string_view name) {
  out += ",\"";
  out += name;
  out += "\":";
}

template <typename Items, typename Put>
void put_array(std::string& out, const Items& items, Put put) {
  out += '[';
  bool is_first = true;
  for (const auto& item : items) {
    if (!is_first) out += ',';
    is_first = false;
    put(item);
  }
  out += ']';
}

void put_attributes(std::string& out, std::span<const Attribute> attributes) {
  out += '{';
  bool is_first = true;
  for (const Attribute& attribute : attributes) {
    if (!is_first) out += ',';
    is_first = false;
    put_string(out, attribute.key);
    out += ':';
    put_scalar(out, attribute.value);
  }
  out += '}';
}

void put_numbers(std::string& out, std::span<const uint64_t> numbers) {
  put_array(out, numbers, [&](uint64_t n) { put_integer(out, n); });
}

/// `{"count":...,"sum":...`, and min and max where they are known.
void put_summary(std::string& out, uint64_t count, double sum, double min, double max) {
  out += "{\"count\":";
  put_integer(out, count);
  put_key(out, "sum");
  put_value(out, sum);
  if (!std::isnan(min)) {
    put_key(out, "min");
    put_value(out, min);
  }
  if (!std::isnan(max)) {
    put_key(out, "max");
    put_value(out, max);
  }
}

void put_histogram(std::string& out, const HistogramValue& value, std::span<const double> bounds) {
  put_summary(out, value.count, value.sum, value.min, value.max);
  put_key(out, "bounds");
  put_array(out, bounds, [&](double bound) { put_value(out, bound); });
  put_key(out, "buckets");
  put_numbers(out, value.buckets);
  out += '}';
}

void put_exponential(std::string& out, const ExpHistogramValue& value) {
  put_summary(out, value.count, value.sum, value.min, value.max);
  put_key(out, "zero_count");
  put_integer(out, value.zero_count);
  put_key(out, "scale");
  put_integer(out, value.scale);
  put_key(out, "positive_offset");
  put_integer(out, value.positive_offset);
  put_key(out, "positive");
  put_numbers(out, value.positive);
  put_key(out, "negative_offset");
  put_integer(out, value.negative_offset);
  put_key(out, "negative");
  put_numbers(out, value.negative);
  out += '}';
}

void put_labels(std::string& out, const Series& series) {
  out += '{';
  for (size_t i = 0; i < series.label_values.size(); ++i) {
    if (i > 0) out += ',';
    put_string(out, series.family->label_keys[i]);
    out += ':';
    put_string(out, series.label_values[i]);
  }
  out += '}';
}

void put_exemplar(std::string& out, const Exemplar& exemplar) {
  out += "{\"value\":";
  put_value(out, exemplar.value);
  put_key(out, "ts_ns");
  put_integer(out, exemplar.time_ns);
  put_key(out, "trace_id");
  put_id(out, exemplar.trace_id);
  put_key(out, "span_id");
  put_id(out, exemplar.span_id);
  out += '}';
}

void put_event(std::string& out, const SpanEvent& event) {
  out += "{\"ts_ns\":";
  put_integer(out, event.time_ns);
  put_key(out, "name");
  put_string(out, event.name);
  put_key(out, "attributes");
  put_attributes(out, event.attributes);
  out += '}';
}

void put_link(std::string& out, const SpanLink& link) {
  out += "{\"trace_id\":";
  put_id(out, link.trace_id);
  put_key(out, "span_id");
  put_id(out, link.span_id);
  put_key(out, "attributes");
  put_attributes(out, link.attributes);
  out += '}';
}

}  // namespace

void LineFormat::begin(const Segment& segment) {
  tail_.clear();
  put_key(tail_, "resource");
  tail_ += '{';
  for (const auto& [key, value] : segment.incarnation->resource.attributes) {
    if (tail_.back() != '{') tail_ += ',';
    put_string(tail_, key);
    tail_ += ':';
    put_scalar(tail_, value);
  }
  tail_ += '}';
  put_key(tail_, "inc");
  put_id(tail_, segment.incarnation->id.bytes);
  put_key(tail_, "seq");
  put_integer(tail_, segment.seq);
  tail_ += "}\n";
}

void LineFormat::append(const Point& point, std::string& out) const {
  const Family& family = *point.series->family;
  out += R"({"type":"point","ts_ns":)";
  put_integer(out, point.time_ns);
  put_key(out, "name");
  put_string(out, family.name);
  put_key(out, "kind");
  put_string(out, to_string(family.kind));
  put_key(out, "labels");
  put_labels(out, *point.series);
  put_key(out, "value");
  if (point.histogram != nullptr) {
    put_histogram(out, *point.histogram, family.bounds);
  } else if (point.exponential != nullptr) {
    put_exponential(out, *point.exponential);
  } else {
    put_value(out, point.value);
  }
  put_key(out, "unit");
  put_string(out, family.unit);
  if (family.delta) out += R"(,"delta":true)";
  if (point.exemplar != nullptr) {
    put_key(out, "exemplar");
    put_exemplar(out, *point.exemplar);
  }
  out += tail_;
}

void LineFormat::append(const Span& span, std::string& out) const {
  out += R"({"type":)";
  put_string(out, to_string(span.what));
  put_key(out, "ts_ns");
  put_integer(out, span.what == SpanWhat::end && span.end_ns != 0 ? span.end_ns : span.start_ns);
  put_key(out, "name");
  put_string(out, span.name);
  put_key(out, "lane");
  put_string(out, span.lane);
  put_key(out, "trace_id");
  put_id(out, span.trace_id);
  put_key(out, "span_id");
  put_id(out, span.span_id);
  put_key(out, "parent_id");
  if (span.has_parent) {
    put_id(out, span.parent_id);
  } else {
    out += "null";
  }
  put_key(out, "start_ns");
  put_integer(out, span.start_ns);
  put_key(out, "end_ns");
  if (span.end_ns != 0) {
    put_integer(out, span.end_ns);
  } else {
    out += "null";
  }
  put_key(out, "status");
  put_string(out, to_string(span.status));
  put_key(out, "attributes");
  put_attributes(out, span.attributes);
  if (!span.events.empty()) {
    put_key(out, "events");
    put_array(out, span.events, [&](const SpanEvent& event) { put_event(out, event); });
  }
  if (!span.links.empty()) {
    put_key(out, "links");
    put_array(out, span.links, [&](const SpanLink& link) { put_link(out, link); });
  }
  out += tail_;
}

}  // namespace insight
