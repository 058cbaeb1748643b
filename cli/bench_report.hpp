// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "bus/base/histogram.hpp"
#include "bus/base/result.hpp"
#include "cli/bench_load.hpp"

namespace insight::cli {

/// What a broker counted up to one moment.  Value.
struct BusCounts {
  struct Sink {
    std::string name;
    std::array<uint64_t, 2> received{};  ///< metrics, spans
    uint64_t delivered = 0;
    uint64_t dropped_in_queue = 0;
    uint64_t dropped_by_sink = 0;
    uint64_t waiting = 0;                  ///< in the queue and in the write that goes on
    std::map<double, uint64_t> latencies;  ///< envelopes by upper bound in seconds
  };

  std::string life;  ///< differs after a restart of the broker
  double uptime_seconds = 0;
  double cpu_seconds = 0;
  std::array<uint64_t, 2> received{};  ///< metrics, spans
  uint64_t dropped_at_ingress = 0;
  std::vector<Sink> sinks;

  uint64_t all_received() const { return received[0] + received[1]; }
};

/// Reads the answer of /api/v1/status.
Result<BusCounts> bus_counts(const nlohmann::json& status);

/// What was received from one publisher, of the answer of /api/v1/publishers.
struct Received {
  uint64_t records = 0;
  uint64_t missing_envelopes = 0;  ///< gaps, with those after the last one that came
};

Result<Received> received_of(const nlohmann::json& publishers,
                             const std::vector<Load::Publisher>& ours);

/// Says why two counts of one bus cannot be compared; empty when they can.
std::string cannot_compare(const BusCounts& before, const BusCounts& after);

/// Between which bounds a value lies.
struct Quantile {
  double from = 0;
  double to = std::numeric_limits<double>::quiet_NaN();  ///< NaN: nothing was measured
};

Quantile quantile(const std::map<double, uint64_t>& counts, double share);

/// One measurement: a load at one rate, from a quiet bus to a quiet bus.  Value.
struct Measurement {
  double rate = 0;     ///< asked for
  double seconds = 0;  ///< of the load
  double began = 0;    ///< Unix time
  LoadCounts load;
  uint64_t delivered_in_time = 0;  ///< by the slowest sink while the load went on
  double publisher_cpu_seconds = 0;
  BusCounts before, after;
  Received received;
  bool is_interrupted = false;

  struct SinkBalance {
    std::string name;
    uint64_t delivered = 0;
    uint64_t queue = 0;
    uint64_t sink = 0;
    uint64_t in_flight = 0;
    uint64_t not_asked_for = 0;  ///< of a signal that this sink does not take
    int64_t unexplained = 0;     ///< what is missing in the sum
    std::map<double, uint64_t> latencies;
  };

  uint64_t recorded() const { return load.recorded + others(); }

  uint64_t others() const;  ///< records of other publishers in that time
  uint64_t lost_in_transport() const;

  uint64_t dropped_at_ingress() const {
    return after.dropped_at_ingress - before.dropped_at_ingress;
  }

  std::vector<SinkBalance> balances() const;

  /// Records a second that the slowest sink took while the load went on.
  double throughput() const { return static_cast<double>(delivered_in_time) / seconds; }

  /// The worst of all sinks.
  Quantile latency(double share) const;
  bool adds_up() const;
};

/// Where records were lost, and how many at the first such place; empty when none were.
std::string losses(const Measurement& m);

/// Why the bus did not keep up with that load: losses, or what came too late; empty when it did.
std::string overload(const Measurement& m);

/// True when the publishers were too slow themselves: they hardly waited for the bus.
bool is_limited_by_publishers(const Measurement& m, uint64_t publishers);

nlohmann::ordered_json to_json(const Measurement& m);

}  // namespace insight::cli
