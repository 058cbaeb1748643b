// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bus/base/result.hpp"
#include "bus/metrics/status.hpp"
#include "bus/pipeline/metrics_view.hpp"

namespace insight {

/// What GET /api/v1/series was asked for: one metric, or a list of them.  Value.
struct SeriesQuery {
  static constexpr size_t kMaxLimit = 1'000;
  static constexpr size_t kMaxOffset = 10'000'000;

  std::string explain;  ///< a name; empty: the list
  MetricQuery list;
};

/// Reads "name=rl_*&sort=name&limit=100&offset=0" or "explain=NAME".
Result<SeriesQuery> parse_series_query(std::string_view query);

/// The bus's own metrics whose names match, and what joins them with those of a sink: `list` holds
/// the first ones of the sink then, and the wanted page of all afterwards.
std::vector<MetricSummary> own_metrics_like(std::string_view glob, const Status& status);
void add_metrics(MetricList& list, std::vector<MetricSummary> own, const MetricQuery& query);

/// Answers with the bus's own metric of this name, or with those that are named almost so.
void add_own_metric(MetricAnswer& answer, const std::string& name, const Status& status);

/// The bodies.  `has_source`: some sink holds series; without one only the bus's own are known.
std::string metric_list_json(const MetricList& list, bool has_source);
std::string metric_answer_json(const MetricAnswer& answer, std::string_view name,
                               const Status& status, bool has_source);

}  // namespace insight
