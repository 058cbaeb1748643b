// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "bus/base/endpoint.hpp"
#include "bus/base/result.hpp"
#include "publishers/native/drops.hpp"
#include <insight/insight.hpp>

namespace insight::native {

/// Reads one environment variable; null when it is not set.
using Environment = const char* (*)(const char* name);

/// The options with what the environment adds.  Value.
struct Settings {
  std::string service;
  std::vector<std::pair<std::string, std::string>> resource;  ///< the first of a key wins
  std::string endpoint;                                       ///< empty: search
  uint64_t flush_interval_ns = 0;
  uint64_t beat_interval_ns = 0;
  uint64_t exit_deadline_ns = 0;
};

Settings settings_from(const PublisherOptions& options, Environment environment);

/// True when INSIGHT_DISABLED or OTEL_SDK_DISABLED says so.
bool is_disabled(Environment environment);

/// P(resource) with host and pid of the calling process; attributes beyond the limits are left out
/// and counted.
std::string make_resource(const Settings& settings, Drops& drops);

/// Where the broker is, or most likely will be.
Result<Endpoint> find_endpoint(const Settings& settings);

}  // namespace insight::native
