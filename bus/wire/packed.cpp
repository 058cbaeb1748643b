// SPDX-License-Identifier: Apache-2.0
// What travels as opaque bytes and is read once: families, label values, resources.
#include <algorithm>
#include <cmath>

#include "bus/base/text.hpp"
#include "bus/wire/decoder.hpp"
#include "bus/wire/limits.hpp"
#include "bus/wire/tape.hpp"

namespace insight::wire {
namespace {

using Type = Token::Type;

bool to_text(const Token& token, size_t max, std::string& out) {
  if (!token.is(Type::str) || token.size > max || !is_utf8(token.text())) return false;
  out = token.text();
  return true;
}

bool to_name(const Token& token, std::string& out) {
  return to_text(token, kMaxNameBytes, out) && !out.empty();
}

bool read_label_keys(const Token& token, std::vector<std::string>& keys) {
  if (!token.is(Type::array) || token.size > kMaxLabels) return false;
  const Token* element = token.first();
  for (uint32_t i = 0; i < token.size; ++i, element = element->next()) {
    std::string key;
    if (!to_name(*element, key) || std::ranges::find(keys, key) != keys.end()) return false;
    keys.push_back(std::move(key));
  }
  return true;
}

bool read_bounds(const Token& token, std::vector<double>& bounds) {
  // The last bucket has no bound.
  if (!token.is(Type::array) || token.size > kMaxBuckets - 1) return false;
  const Token* element = token.first();
  for (uint32_t i = 0; i < token.size; ++i, element = element->next()) {
    double bound = 0;
    if (!to_number(*element, bound) || !std::isfinite(bound)) return false;
    if (!bounds.empty() && bound <= bounds.back()) return false;
    bounds.push_back(bound);
  }
  return true;
}

bool read_merge(const Token& token, GaugeMode& merge) {
  for (GaugeMode mode : {GaugeMode::last, GaugeMode::sum, GaugeMode::min, GaugeMode::max,
                         GaugeMode::mean, GaugeMode::each}) {
    if (!token.is(Type::str) || token.text() != to_string(mode)) continue;
    merge = mode;
    return true;
  }
  return false;
}

bool read_options(const Token& token, Family& family) {
  if (!token.is(Type::map) || check_keys(token, kMaxKeys) != nullptr) return false;
  const Token* key = token.first();
  for (uint32_t i = 0; i < token.size; ++i) {
    const Token& value = *key->next();
    const std::string_view name = key->text();
    if (!is_utf8(name)) return false;
    if (name == "delta") {
      if (!value.is(Type::boolean)) return false;
      family.delta = value.boolean;
    } else if (name == "merge") {
      if (!read_merge(value, family.merge)) return false;
    } else if (name == "bounds") {
      if (!read_bounds(value, family.bounds)) return false;
    }
    key = value.next();
  }
  return true;
}

// Adds the counts of `buckets` to `sum`; false when it overflows.
bool add_counts(std::span<const uint64_t> buckets, uint64_t& sum) {
  for (uint64_t count : buckets) {
    if (__builtin_add_overflow(sum, count, &sum)) return false;
  }
  return true;
}

bool is_range(double min, double max) {
  return !std::isinf(min) && !std::isinf(max) && !(min > max);
}

}  // namespace

Result<Family, Reason> decode_family(std::string_view bytes) {
  std::vector<Token> tape;
  if (bytes.size() > kMaxFamilyBytes || !read_tape(bytes, tape) || !tape[0].is(Type::array) ||
      tape[0].size < 3) {
    return Reason::bad_family;
  }
  Family family;
  const Token* name = tape[0].first();
  const Token* kind = name->next();
  const Token* keys = kind->next();
  if (!to_name(*name, family.name) || !kind->is(Type::str)) return Reason::bad_family;
  bool is_known = false;
  for (Kind each : {Kind::counter, Kind::gauge, Kind::histogram, Kind::exphist}) {
    if (kind->text() != to_string(each)) continue;
    family.kind = each;
    is_known = true;
  }
  // A kind that comes later may need another shape.
  if (!is_known) return is_utf8(kind->text()) ? Reason::unknown_kind : Reason::bad_family;
  if (!read_label_keys(*keys, family.label_keys)) return Reason::bad_family;
  const Token* element = keys;
  for (uint32_t i = 3; i < std::min(tape[0].size, 6u); ++i) {
    element = element->next();
    if (element->is(Type::nil)) continue;
    const bool is_right = i == 3   ? to_text(*element, kMaxNameBytes, family.unit)
                          : i == 4 ? to_text(*element, kMaxStringBytes, family.help)
                                   : read_options(*element, family);
    if (!is_right) return Reason::bad_family;
  }
  // Options of another kind say nothing.
  if (family.kind != Kind::histogram) family.bounds.clear();
  if (family.kind != Kind::gauge) family.merge = GaugeMode::last;
  if (family.kind == Kind::gauge) family.delta = false;
  return family;
}

bool decode_labels(std::string_view bytes, size_t count, std::vector<std::string_view>& values) {
  values.clear();
  std::vector<Token> tape;
  if (bytes.size() > kMaxLabelBytes || !read_tape(bytes, tape) || !tape[0].is(Type::array) ||
      tape[0].size != count) {
    return false;
  }
  const Token* element = tape[0].first();
  for (size_t i = 0; i < count; ++i, element = element->next()) {
    if (!element->is(Type::str) || !is_utf8(element->text())) return false;
    values.push_back(element->text());
  }
  return true;
}

Result<Resource, Refusal> decode_resource(std::string_view bytes) {
  const auto malformed = [](std::string_view detail) { return Refusal{Reason::malformed, detail}; };
  std::vector<Token> tape;
  if (bytes.size() > kMaxResourceBytes) return malformed("res is too large");
  if (!read_tape(bytes, tape) || !tape[0].is(Type::map)) return malformed("res is no map");
  if (check_keys(tape[0], kMaxResourceKeys) != nullptr) {
    return malformed("res has bad, repeated or too many keys");
  }
  Resource resource;
  const Token* key = tape[0].first();
  for (uint32_t i = 0; i < tape[0].size; ++i) {
    const Token& value = *key->next();
    if (!is_utf8(key->text())) return malformed("a key of res is not UTF-8");
    Scalar scalar;
    if (!to_scalar<std::string>(value, scalar)) {
      return malformed("a value of res is no UTF-8 text, number or bool");
    }
    resource.attributes.emplace_back(key->text(), std::move(scalar));
    key = value.next();
  }
  std::ranges::sort(resource.attributes, {}, &std::pair<std::string, Scalar>::first);
  return resource;
}

std::optional<Reason> check_value(const Family& family, const PointView& point) noexcept {
  uint64_t count = 0;
  bool is_right = false;
  switch (family.kind) {
    case Kind::counter:
      is_right = point.is_scalar && std::isfinite(point.value) && point.value >= 0;
      break;
    case Kind::gauge:
      is_right = point.is_scalar;
      break;
    case Kind::histogram:
      is_right = point.histogram && point.histogram->buckets.size() == family.bounds.size() + 1 &&
                 add_counts(point.histogram->buckets, count) && count == point.histogram->count &&
                 std::isfinite(point.histogram->sum) &&
                 is_range(point.histogram->min, point.histogram->max);
      break;
    case Kind::exphist:
      count = point.exponential ? point.exponential->zero_count : 0;
      is_right = point.exponential && add_counts(point.exponential->positive, count) &&
                 add_counts(point.exponential->negative, count) &&
                 count == point.exponential->count && std::isfinite(point.exponential->sum) &&
                 is_range(point.exponential->min, point.exponential->max);
      break;
  }
  return is_right ? std::nullopt : std::optional(Reason::bad_value);
}

}  // namespace insight::wire
