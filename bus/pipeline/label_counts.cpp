// SPDX-License-Identifier: Apache-2.0
#include "bus/pipeline/label_counts.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace insight {

void LabelCounts::add(std::string_view name, std::string_view value) {
  Values& values = values_[name];
  if (values.series.size() < kMaxValues) {
    ++values.series[value];
  } else if (const auto known = values.series.find(value); known != values.series.end()) {
    ++known->second;
  } else {
    values.has_more = true;
  }
}

std::vector<MetricDetail::Label> LabelCounts::labels() const {
  std::vector<MetricDetail::Label> out;
  for (const auto& [name, values] : values_) {
    MetricDetail::Label& label = out.emplace_back();
    label.name = name;
    label.values = values.series.size();
    label.is_at_least = values.has_more;
    std::vector<std::pair<std::string_view, uint64_t>> all(values.series.begin(),
                                                           values.series.end());
    const size_t top = std::min(kTop, all.size());
    std::ranges::partial_sort(all, all.begin() + static_cast<std::ptrdiff_t>(top), {},
                              [](const auto& each) { return std::pair(~each.second, each.first); });
    label.top.assign(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(top));
  }
  return out;
}

}  // namespace insight
