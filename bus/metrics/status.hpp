// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bus/base/clock.hpp"
#include "bus/model/publisher_view.hpp"
#include "bus/pipeline/stats.hpp"

namespace insight {

/// How long ago a publisher's loop said that it goes on.  Value.
struct ProgressAge {
  std::shared_ptr<const Incarnation> incarnation;
  std::string name;
  double seconds = 0;
};

/// Those who look at live records.  Value.
struct TapStats {
  uint64_t open = 0;
  uint64_t refused = 0;   ///< beyond the limit
  uint64_t cut = 0;       ///< because they were too slow
  uint64_t records = 0;   ///< that came by
  uint64_t left_out = 0;  ///< of them without a look
  uint64_t sent = 0;
  uint64_t other = 0;  ///< not asked for
};

/// The broker at one moment: what /metrics, /status and the API show of it.  Value.
struct Status {
  Now now;
  std::string name;
  std::string version;
  std::string revision;
  uint64_t started_wall_ns = 0;
  uint64_t started_mono_ns = 0;
  int64_t pid = 0;
  uint64_t cpu_ns = 0;                ///< of the process, all its threads
  std::string state_directory;        ///< empty: memory only
  std::vector<std::string> problems;  ///< why it is not ready or degraded; empty when all is well
  uint64_t series_per_metric_limit = 0;
  uint64_t series_per_publisher_limit = 0;
  std::vector<CollectorStats> collectors;
  std::vector<SinkSnapshot> sinks;
  std::vector<PublisherView> publishers;  ///< as many as were asked for
  std::vector<ProgressAge> progress;
  TapStats taps;
};

/// "trainer/head-0/4711": service, host and pid of a publisher, as far as it said.
std::string publisher_name(const Incarnation& incarnation);

/// The text of one key of a publisher's resource, empty when there is none.
std::string resource_text(const Incarnation& incarnation, std::string_view key);

}  // namespace insight
