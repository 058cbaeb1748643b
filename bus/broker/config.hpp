// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bus/base/endpoint.hpp"
#include "bus/base/result.hpp"
#include "bus/broker/config_node.hpp"
#include "bus/ledger/series_table.hpp"
#include "bus/pipeline/sink_plugin.hpp"
#include "bus/pipeline/sink_worker.hpp"

namespace insight {

/// A checked configuration: everything in it has the right type and a value that makes sense.
/// Whether paths can be written and addresses be bound shows when the broker starts.  Value.
struct Config {
  struct Collector {
    std::string name;
    std::vector<Endpoint> endpoints;
    bool insecure = false;  ///< endpoints may be ones that other machines reach
  };

  struct Sink {
    const SinkPlugin* plugin = nullptr;
    SinkWorkerOptions worker;
    std::shared_ptr<const SinkConfig> table;
  };

  /// One table with all its keys, as print_config() shows it.
  struct Table {
    std::string_view section;  ///< "broker", "collectors"
    std::string name;          ///< of a collector or a sink, else empty
    ConfigNode values;
  };

  std::string source;           ///< the file, or "embedded default"
  bool is_default = false;      ///< no file was given
  std::string name;             ///< of the broker
  std::string state_directory;  ///< intended; empty when there is none
  uint64_t stop_timeout_ns = 0;
  std::vector<std::string> resource_labels;
  Endpoint http;
  SeriesLimits limits;
  std::vector<Collector> collectors;
  std::vector<Sink> sinks;
  std::vector<Table> tables;

  /// What the tables of the sinks lead into.
  std::shared_ptr<const void> owner;
};

/// What the command line puts over the file.
struct ConfigOverrides {
  std::optional<std::string> listen;  ///< --listen: the endpoint of the one collector
  std::optional<std::string> http;    ///< --http
};

using Plugins = std::span<const SinkPlugin* const>;

/// Checks the text of a configuration file.  All errors at once; of syntax errors the first.
Result<Config, std::vector<ConfigError>> check_config(std::string_view text,
                                                      const std::string& file, Plugins plugins,
                                                      const ConfigOverrides& overrides = {});

/// Reads and checks a file; without a path the embedded default.  `name` is what errors call it;
/// the path when it is empty.
Result<Config, std::vector<ConfigError>> load_config(const std::string& path, Plugins plugins,
                                                     const ConfigOverrides& overrides = {},
                                                     std::string name = {});

/// The text of the embedded default, as a file would have it.
std::string default_config(Plugins plugins);

/// `insight` in the XDG state directory; empty without a home.
std::string default_state_directory();

}  // namespace insight
