// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bus/base/clock.hpp"
#include "bus/base/result.hpp"
#include "bus/model/batch.hpp"
#include "bus/pipeline/metrics_view.hpp"
#include "bus/pipeline/stats.hpp"

namespace insight {

struct AggregateState;

struct AggregateOptions {
  std::vector<std::string> resource_labels{"run", "role", "rank", "replica"};
  std::vector<std::string> reserved_metrics;
  uint64_t series = 1'000'000;
  uint64_t series_per_metric = 100'000;
  uint64_t bytes = 1 << 30;  ///< of memory for series and contributions, about
  uint64_t gauge_linger_ns = 60 * kSecond;
  uint64_t keep_ended_ns = 3'600 * kSecond;
  uint64_t keep_tombstones_ns = 7 * 86'400 * kSecond;
  bool created = false;  ///< OpenMetrics says of each total since when it counts
};

/// An Aggregate at one moment.  Value.
struct AggregateStatus {
  uint64_t series = 0;   ///< that somebody contributes to
  uint64_t dormant = 0;  ///< whose total is kept in case somebody comes back
  uint64_t incarnations = 0;
  uint64_t tombstones = 0;
  uint64_t resyncs = 0;  ///< incarnations that came back after they were retired
  uint64_t exemplars = 0;
  uint64_t exemplars_dropped = 0;                                 ///< that there was no place for
  std::vector<std::pair<std::string, uint64_t>> largest_metrics;  ///< series by metric, top 10
  std::vector<SinkSnapshot::Refusal> refusals;
};

/// Merges the incarnations' values into one series each, and survives a restart.  Pure; value: the
/// caller synchronises.
///
/// The merge key (merge_key.hpp) is the exposed name, the labels of the series and the chosen keys
/// of the resource.  Counters and histograms add: totals of retired incarnations plus the newest
/// value of each other one.  Gauges go by their mode over live incarnations.  An exported counter
/// or bucket never falls, also over save() and load(), when every render() is saved before it is
/// shown.
///
/// Exemplars are kept beside: the newest of each bucket and of each counter.  They are in no
/// snapshot.
class Aggregate {
 public:
  explicit Aggregate(AggregateOptions options);
  ~Aggregate();
  Aggregate(const Aggregate&) = delete;
  Aggregate& operator=(const Aggregate&) = delete;

  /// Takes the points of a batch in; returns how many were dropped, by reason.
  ReasonArray apply(const Batch& batch, const Now& now);

  /// Retires incarnations that ended or were lost long ago, forgets what is older than it must be.
  /// Call it about once a second.
  void step(const Now& now);

  /// What is shown; of OpenMetrics without the end.
  std::string render(const Now& now, Exposition exposition = Exposition::text);

  /// All state as bytes, and back.  load() accepts what save() gave and returns the number of
  /// series, or says what is wrong with it and leaves the aggregate empty.
  std::string save(const Now& now) const;
  Result<uint64_t> load(std::string_view bytes, const Now& now);

  /// Another number than before when save() would give something else that matters.
  uint64_t revision() const noexcept;

  AggregateStatus status() const;

  /// See MetricsView; in bounded time.
  MetricList list(const MetricQuery& query, const Now& now);
  MetricAnswer explain(const std::string& name, const Now& now);

 private:
  AggregateOptions options_;
  std::unique_ptr<AggregateState> state_;
};

}  // namespace insight
