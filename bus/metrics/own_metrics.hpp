// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "bus/metrics/status.hpp"
#include "bus/pipeline/metrics_view.hpp"

namespace insight {

/// At most so many publishers get series of their own, those that live first; how many were left
/// out is a metric.
inline constexpr size_t kMaxPublishersShown = 1'000;

/// The bus's own metrics; of OpenMetrics without the end.  prometheus-cpp stands behind it.
std::string render_own_metrics(const Status& status, Exposition exposition = Exposition::text);

/// What they are, one by one; those without a series, too.
std::vector<MetricDetail> describe_own_metrics(const Status& status);

/// Their names, and what OpenMetrics makes of them; no publisher's metric may take one.
std::vector<std::string> own_metric_names();

}  // namespace insight
