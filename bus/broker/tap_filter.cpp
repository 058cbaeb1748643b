// SPDX-License-Identifier: Apache-2.0
#include "bus/broker/tap_filter.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <type_traits>
#include <variant>

#include "bus/base/text.hpp"
#include "bus/metrics/status.hpp"

namespace insight {

namespace {

constexpr size_t kMaxLabels = 32;
constexpr size_t kLeastHexDigits = 6;  // of an incarnation that is named by its beginning

Error too_long(const std::string& key) {
  return Error{key + " must have at most " + std::to_string(kMaxGlobBytes) + " bytes"};
}

std::optional<Error> set(TapQuery& query, const std::string& key, std::string value) {
  if (key == "signal") {
    for (const Signal signal : {Signal::metrics, Signal::spans}) {
      if (value == to_string(signal)) query.signal = signal;
    }
    if (!query.signal) return Error{"signal must be metrics or spans"};
  } else if ((key == "name" || key == "publisher") && value.size() > kMaxGlobBytes) {
    return too_long(key);
  } else if (key == "name") {
    query.name = std::move(value);
  } else if (key == "publisher") {
    query.publisher = std::move(value);
  } else if (key == "label") {
    const size_t equals = value.find('=');
    if (equals == std::string::npos || equals == 0) return Error{"label must be key=value"};
    if (value.size() - equals - 1 > kMaxGlobBytes) return too_long(key);
    if (query.labels.size() == kMaxLabels) return Error{"at most 32 labels"};
    query.labels.emplace_back(value.substr(0, equals), value.substr(equals + 1));
  } else if (key == "all") {
    if (value != "0" && value != "1") return Error{"all must be 0 or 1"};
    query.has_refreshes = value == "1";
  } else if (key == "n") {
    const char* end = value.data() + value.size();
    const auto [rest, error] = std::from_chars(value.data(), end, query.count);
    if (error != std::errc{} || rest != end) return Error{"n must be a whole number"};
  } else {
    return Error{"unknown parameter; known: signal, name, publisher, label, all, n"};
  }
  return std::nullopt;
}

bool matches_value(const std::string& glob, const AttributeValue& value) {
  return std::visit(
      [&glob](const auto& v) {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::string_view>) {
          return matches_glob(glob, v);
        } else if constexpr (std::is_same_v<T, bool>) {
          return matches_glob(glob, v ? "true" : "false");
        } else {
          std::array<char, 32> digits;
          const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), v).ptr;
          return matches_glob(glob, {digits.data(), end});
        }
      },
      value);
}

bool is_meant(const std::string& glob, const Incarnation& incarnation) {
  for (const char* key : {"service.name", "host.name", "process.pid"}) {
    if (matches_glob(glob, resource_text(incarnation, key))) return true;
  }
  const std::string id = to_hex(incarnation.id.view());
  return matches_glob(glob, publisher_name(incarnation)) || matches_glob(glob, id) ||
         (glob.size() >= kLeastHexDigits && id.starts_with(glob));
}

}  // namespace

Result<TapQuery> parse_tap_query(std::string_view query) {
  TapQuery out;
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    const size_t equals = std::min(pair.find('='), pair.size());
    const std::string_view value = pair.substr(std::min(equals + 1, pair.size()));
    if (auto error = set(out, percent_decoded(pair.substr(0, equals)), percent_decoded(value)))
      return *error;
  }
  return out;
}

bool TapFilter::begin(const Segment& segment) {
  family_ = nullptr;  // another batch: the address may be another family's by now
  incarnation_ = segment.incarnation.get();
  return query_.publisher.empty() || is_meant(query_.publisher, *incarnation_);
}

bool TapFilter::matches_resource(const std::string& key, const std::string& glob) const {
  const Scalar* value = incarnation_->resource.find(key);
  return value != nullptr && matches_glob(glob, to_text(*value));
}

bool TapFilter::matches(const Point& point) {
  if (!point.changed && !query_.has_refreshes) return false;
  const Family& family = *point.series->family;
  if (&family != family_) {
    family_ = &family;
    is_family_meant_ = query_.name.empty() || matches_glob(query_.name, family.name);
  }
  if (!is_family_meant_) return false;
  return std::ranges::all_of(query_.labels, [&](const auto& label) {
    const auto& [key, glob] = label;
    const auto at = std::ranges::find(family.label_keys, key);
    if (at == family.label_keys.end()) return matches_resource(key, glob);
    const auto index = static_cast<size_t>(at - family.label_keys.begin());
    return matches_glob(glob, point.series->label_values[index]);
  });
}

bool TapFilter::matches(const Span& span) const {
  if (!query_.name.empty() && !matches_glob(query_.name, span.name)) return false;
  return std::ranges::all_of(query_.labels, [&](const auto& label) {
    const auto& [key, glob] = label;
    const auto at = std::ranges::find(span.attributes, key, &Attribute::key);
    if (at != span.attributes.end()) return matches_value(glob, at->value);
    if (key == "lane") return matches_glob(glob, span.lane);
    return matches_resource(key, glob);
  });
}

}  // namespace insight
