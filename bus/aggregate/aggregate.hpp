// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bus/base/clock.hpp"
#include "bus/base/result.hpp"
#include "bus/model/batch.hpp"
#include "bus/pipeline/sink.hpp"

namespace insight {

struct AggregateOptions {
  std::vector<std::string> resource_labels{"run", "role", "rank", "replica"};
  std::vector<std::string> reserved_metrics;
  uint64_t series = 1'000'000;
  uint64_t series_per_metric = 100'000;
  uint64_t gauge_linger_ns = 60 * kSecond;
  uint64_t keep_ended_ns = 3'600 * kSecond;
  uint64_t keep_tombstones_ns = 7 * 86'400 * kSecond;
};

/// Merges the incarnations' values into one series each, and survives a restart.  Pure; the caller
/// synchronises.
///
/// The merge key is the exposed name, the labels of the series and the chosen keys of the resource.
/// Counters and histograms add: totals of retired incarnations plus the newest value of each live
/// one. Gauges go by their mode over live incarnations.  An exported counter or bucket never falls.
class Aggregate {
 public:
  explicit Aggregate(AggregateOptions options);
  ~Aggregate();

  /// Takes the points of a batch in; returns how many were dropped, by reason.
  ReasonArray apply(const Batch& batch, const Now& now);

  /// Retires incarnations that ended or were lost long ago, drops tombstones.
  void step(const Now& now);

  /// The exposition in Prometheus text format 0.0.4.
  std::string render(const Now& now);

  /// All state as bytes, and back.  load() accepts what save() gave, or says what is wrong with it
  /// and stays empty.
  std::string save(const Now& now) const;
  Result<uint64_t> load(std::string_view bytes, const Now& now);

  // status, and what else the sink needs: to be written
};

}  // namespace insight
