// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "bus/base/log.hpp"
#include "bus/broker/config.hpp"
#include "cli/terminal.hpp"

namespace insight::cli {

/// What a command ended with; the same for all of them.
enum ExitCode : int {
  kDone = 0,
  kProblem = 1,   ///< it ran and found a problem
  kWrongUse = 2,  ///< or a wrong configuration
  kNoBroker = 3,  ///< none answers
};

struct BusRunOptions {
  std::string config;  ///< empty: INSIGHT_CONFIG, else the embedded default
  ConfigOverrides overrides;
  LogFormat log_format = LogFormat::text;
};

struct AskOptions {
  std::string http;  ///< empty: INSIGHT_HTTP, else 127.0.0.1:9092
  bool json = false;
};

struct PublishersOptions {
  AskOptions ask;
  std::string state;  ///< empty: all
  size_t limit = 100;
};

// One file each.
int bus_run(const BusRunOptions& options, Plugins plugins);
int config_check(const std::string& file, Plugins plugins, Terminal& out);
int status(const AskOptions& options, Terminal& out);
int publishers(const PublishersOptions& options, Terminal& out);
int version(bool json, Terminal& out);

/// Writes "insightctl: <sentence>" to standard error.
void complain(const std::string& sentence);

}  // namespace insight::cli
