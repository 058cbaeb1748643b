// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstdlib>

#include "bus/broker/run.hpp"
#include "cli/commands.hpp"

namespace insight::cli {

int bus_run(const BusRunOptions& options, Plugins plugins) {
  std::string path = options.config;
  if (path.empty()) {
    const char* environment = std::getenv("INSIGHT_CONFIG");
    if (environment != nullptr) path = environment;
  }
  auto config = load_config(path, plugins, options.overrides);
  if (!config) {
    for (const ConfigError& error : config.error()) {
      (void)std::fprintf(stderr, "%s\n", printable(error.text()).c_str());
    }
    return kWrongUse;
  }
  return run_broker(std::move(*config), options.log_format);
}

}  // namespace insight::cli
