// SPDX-License-Identifier: Apache-2.0
#include "bus/metrics/open_metrics.hpp"

#include <algorithm>

namespace insight {

namespace {

constexpr std::string_view kTotal = "_total";
constexpr std::string_view kHelp = "# HELP ", kType = "# TYPE ";
static_assert(kHelp.size() == kType.size());

void append_header(std::string& out, std::string_view line) {
  const std::string_view rest = line.substr(kHelp.size());
  const size_t space = std::min(rest.find(' '), rest.size());
  const std::string_view name = without_total(rest.substr(0, space));
  out.append(line.substr(0, kHelp.size())).append(name).append(rest.substr(space)) += '\n';
  const std::string_view unit = unit_of(name);
  if (!line.starts_with(kType) || unit.empty()) return;
  out.append("# UNIT ").append(name).append(" ").append(unit) += '\n';
}

/// `le="5"` becomes `le="5.0"`.  A quote inside of a label's value is escaped, so that no value
/// can look like a bound.
void append_sample(std::string& out, std::string_view line) {
  constexpr std::string_view kBound = "le=\"";
  const size_t label = line.rfind(kBound);
  // role="5" ends like a bound and is none.
  if (label != std::string_view::npos && label > 0 &&
      (line[label - 1] == '{' || line[label - 1] == ',')) {
    const size_t digits = label + kBound.size();
    const size_t end = line.find_first_not_of("0123456789", digits);
    if (end != digits && end != std::string_view::npos && line[end] == '"') {
      out.append(line.substr(0, end)).append(".0");
      line.remove_prefix(end);
    }
  }
  out.append(line) += '\n';
}

}  // namespace

std::string_view without_total(std::string_view name) noexcept {
  if (name.ends_with(kTotal)) name.remove_suffix(kTotal.size());
  return name;
}

std::string_view unit_of(std::string_view name) noexcept {
  name = without_total(name);
  for (const std::string_view unit : {"seconds", "bytes"}) {
    if (name.ends_with(unit) && name.substr(0, name.size() - unit.size()).ends_with('_')) {
      return unit;
    }
  }
  return {};
}

std::string to_open_metrics(std::string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const bool is_header = line.starts_with(kHelp) || line.starts_with(kType);
    is_header ? append_header(out, line) : append_sample(out, line);
  }
  return out;
}

}  // namespace insight
