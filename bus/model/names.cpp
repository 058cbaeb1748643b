// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "bus/model/batch.hpp"
#include "bus/model/incarnation.hpp"
#include "bus/model/reason.hpp"
#include "bus/model/series.hpp"

namespace insight {

namespace {

template <typename Enum, size_t count>
std::string_view name_of(Enum value, const std::array<std::string_view, count>& names) noexcept {
  const auto index = static_cast<size_t>(value);
  return index < count ? names[index] : "unknown";
}

}  // namespace

std::string_view to_string(Reason reason) noexcept {
  static constexpr std::array<std::string_view, kReasonCount> names{
      "malformed",  "version",   "foreign",  "multipart", "too_large",    "duplicate",
      "bad_family", "bad_value", "bad_time", "bad_id",    "unknown_kind", "cardinality",
      "late",       "conflict",  "schema",   "regress",   "unsupported",  "queue_full",
      "gave_up",    "rejected",  "stopped"};
  return name_of(reason, names);
}

std::string_view to_string(Kind kind) noexcept {
  static constexpr std::array<std::string_view, 4> names{"counter", "gauge", "histogram",
                                                         "exphist"};
  return name_of(kind, names);
}

std::string_view to_string(GaugeMode mode) noexcept {
  static constexpr std::array<std::string_view, 6> names{"last", "sum",  "min",
                                                         "max",  "mean", "each"};
  return name_of(mode, names);
}

std::string_view to_string(Life life) noexcept {
  static constexpr std::array<std::string_view, 4> names{"alive", "late", "lost", "ended"};
  return name_of(life, names);
}

std::string_view to_string(Signal signal) noexcept {
  static constexpr std::array<std::string_view, 2> names{"metrics", "spans"};
  return name_of(signal, names);
}

std::string_view to_string(SpanWhat what) noexcept {
  static constexpr std::array<std::string_view, 4> names{"span", "begin", "open", "end"};
  return name_of(what, names);
}

std::string_view to_string(SpanStatus status) noexcept {
  static constexpr std::array<std::string_view, 3> names{"unset", "ok", "error"};
  return name_of(status, names);
}

}  // namespace insight
