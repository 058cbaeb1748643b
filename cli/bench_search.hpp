// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bus/base/result.hpp"
#include "cli/bench_load.hpp"
#include "cli/bench_report.hpp"
#include "cli/stop_signals.hpp"

namespace insight::cli {

/// What is loaded and by what.
struct BenchSetting {
  std::string http;  ///< where the broker answers
  Load& load;
  uint64_t publishers = 0;
  double seconds = 0;  ///< to measure for
  const StopSignals& signals;
};

/// One rate of the search.
struct Step {
  double rate = 0;
  double throughput = 0;
  std::string overload;
  bool is_limited_by_publishers = false;
};

/// What a whole run found.
struct Findings {
  Measurement measured;
  std::vector<Step> steps;
  bool has_limit = false;
  std::string limit_reason;  // why it is not higher
  bool is_limited_by_publishers = false;
};

/// Loads a bus once.  An error is a sentence; a measurement that was interrupted says so.
Result<Findings> measure_once(const BenchSetting& setting, double rate);

/// Looks for the highest rate that a bus keeps up with: doubles it until the bus does not, halves
/// the step between, and measures for as long as was asked for what is left.
Result<Findings> find_limit(const BenchSetting& setting);

/// Waits until the broker has heard all publishers; false when it has not in time, nothing when a
/// signal came before.
std::optional<bool> is_heard(const BenchSetting& setting, uint64_t deadline_mono_ns);

/// "bench: <sentence>" to standard error.
void tell(const std::string& sentence);

/// "50,000 records/s".
std::string per_second(double rate);

}  // namespace insight::cli
