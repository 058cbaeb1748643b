// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "bus/pipeline/metrics_view.hpp"

namespace insight {

/// Counts the values of labels over many series, in bounded memory.  Value; the texts must live as
/// long.
class LabelCounts {
 public:
  static constexpr size_t kMaxValues = 10'000;  ///< of one label; further ones are not told apart
  static constexpr size_t kTop = 5;

  void add(std::string_view name, std::string_view value);

  /// By name, each with its most frequent values.
  std::vector<MetricDetail::Label> labels() const;

 private:
  struct Values {
    std::unordered_map<std::string_view, uint64_t> series;
    bool has_more = false;
  };

  std::map<std::string_view, Values> values_;
};

}  // namespace insight
