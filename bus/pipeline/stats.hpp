// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "bus/base/histogram.hpp"
#include "bus/model/batch.hpp"
#include "bus/model/reason.hpp"

namespace insight {

using ReasonArray = std::array<uint64_t, kReasonCount>;

enum class LatencyMethod : uint8_t { mono, estimated, none };
inline constexpr size_t kLatencyMethodCount = 3;
std::string_view to_string(LatencyMethod method) noexcept;

/// One collector at one moment.  Value.
struct CollectorStats {
  std::string name;
  std::string type;
  std::vector<std::string> endpoints;  ///< as bound
  bool is_open = false;
  std::string problem;  ///< what is wrong although envelopes are taken; empty: nothing
  // By signal; life signs (hello, beat, bye) without records count as metrics.
  std::array<uint64_t, kSignalCount> envelopes{};
  std::array<uint64_t, kSignalCount> bytes{};
  std::array<uint64_t, kSignalCount> records{};
  ReasonArray envelopes_refused{};
  uint64_t refused_bytes = 0;
  ReasonArray records_dropped{};  ///< at ingress
  std::map<std::string, uint64_t>
      dropped_at_publishers;  ///< sum of `drop.*` of all incarnations ever seen
  uint64_t gaps = 0;
  uint64_t spans_lost = 0;  ///< in transport
  uint64_t resources_changed =
      0;  ///< envelopes whose resource was not the first one of their incarnation
  std::array<DurationHistogram::Snapshot, kLatencyMethodCount> transport_latency{};
  std::array<uint64_t, 4> publishers{};  ///< by Life
  uint64_t series = 0;
  uint64_t series_limit = 0;

  /// Metrics over a limit, worst first, at most 10: refused here, or overflowing at their
  /// publisher.
  struct Offender {
    std::string metric;
    std::string publisher;  ///< incarnation, hex
    std::string
        limit;  ///< "series_per_metric", "series_per_publisher", "series", "publisher overflow"
    uint64_t points = 0;  ///< dropped here; 0 for an overflow at the source
  };

  std::vector<Offender> offenders;
  std::vector<std::pair<std::string, uint64_t>> largest_metrics;  ///< series by metric, top 10
};

/// One sink at one moment.  Value.
struct SinkSnapshot {
  std::string name;
  std::string type;
  bool has_opened = false;  ///< since the start
  bool is_up = false;  ///< open, the last write was accepted, and no batch waits for its next try
  std::string last_error;  ///< the newest, also when the sink is up again; empty: never one
  uint64_t last_error_wall_ns = 0;
  std::array<uint64_t, kSignalCount> received{};  ///< records handed to the worker
  std::array<uint64_t, kSignalCount> delivered{};
  std::array<uint64_t, kSignalCount> filtered{};  ///< left out by the sink's table: no loss
  std::array<ReasonArray, kSignalCount> dropped{};
  std::array<uint64_t, kSignalCount> queue_records{};  ///< with the batch that is being written
  std::array<uint64_t, kSignalCount> queue_bytes{};
  uint64_t queue_limit_bytes = 0;  ///< of each signal
  uint64_t retries = 0;
  uint64_t last_success_wall_ns = 0;
  DurationHistogram::Snapshot write_duration{};
  std::array<DurationHistogram::Snapshot, kSignalCount> delivery_latency{};

  /// What the sink itself adds: see Sink::status().
  struct Refusal {
    std::string metric;
    Reason reason = Reason::conflict;
    std::string first;   ///< the publisher that was first, "service/host/pid (incarnation)"
    std::string second;  ///< the one that disagrees
    uint64_t points = 0;
  };

  std::vector<Refusal> refusals;
  std::string problem;  ///< what is wrong although records are taken; empty: nothing
  std::map<std::string, uint64_t>
      figures;  ///< "series", "series_limit", "snapshot_failures", "files"...
};

}  // namespace insight
