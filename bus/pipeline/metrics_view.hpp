// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bus/base/result.hpp"
#include "bus/pipeline/stats.hpp"

namespace insight {

/// How /metrics is written: Prometheus' text format 0.0.4, or OpenMetrics 1.0.
enum class Exposition : uint8_t { text, open_metrics };

/// Which metrics somebody wants to see listed.  Value.
struct MetricQuery {
  std::string name = "*";  ///< glob of the names that are shown
  bool by_name = false;    ///< in the order of their names; else those with most series first
  size_t offset = 0;
  size_t limit = 100;
};

/// One metric at one moment.  Value.
struct MetricSummary {
  std::string name;
  std::string kind;
  std::string unit;
  std::string help;
  uint64_t series = 0;
  uint64_t publishers = 0;
  bool is_at_least = false;                ///< there are more publishers; they were not all counted
  std::optional<uint64_t> silent_seconds;  ///< since its newest value came
};

struct MetricList {
  std::vector<MetricSummary> metrics;
  uint64_t matched = 0;  ///< metrics
  uint64_t series = 0;   ///< of all that matched
};

/// All that is known of one metric.  Value.
struct MetricDetail {
  struct Label {
    std::string name;
    uint64_t values = 0;
    bool is_at_least = false;                           ///< there are more values
    std::vector<std::pair<std::string, uint64_t>> top;  ///< series by value, most first
  };

  struct Publisher {
    std::string name;
    std::string state;
    uint64_t series = 0;
  };

  MetricSummary summary;
  std::string merge;     ///< of a gauge: its mode
  std::string declared;  ///< by whom first
  std::vector<double> bounds;
  uint64_t dormant = 0;  ///< series that nobody sends any more, whose totals are kept
  uint64_t exemplars = 0;
  uint64_t examined = 0;  ///< series that labels and publishers speak of
  std::vector<Label> labels;
  std::vector<Publisher> publishers;  ///< those with most series
};

struct MetricAnswer {
  std::optional<MetricDetail> metric;             ///< none: nobody sends it
  std::vector<std::string> nearest;               ///< names that might have been meant
  std::vector<SinkSnapshot::Refusal> refusals{};  ///< that concern this name
};

/// What a sink that holds metrics shows of them over HTTP.  Thread-safe: called from the http
/// thread, also after the sink was closed, never after it was destroyed.  An error says why there
/// is no answer now.
class MetricsView {
 public:
  virtual ~MetricsView() = default;

  /// Its part of GET /metrics, without the `# EOF` of OpenMetrics.
  virtual Result<std::string> page(Exposition exposition) = 0;

  virtual Result<MetricList> list(const MetricQuery& query) = 0;

  /// By any name that it has: as declared, as shown, or of one of its samples.
  virtual Result<MetricAnswer> explain(const std::string& name) = 0;
};

}  // namespace insight
