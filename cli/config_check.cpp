// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "cli/commands.hpp"

namespace insight::cli {

int config_check(const std::string& file, Plugins plugins, Terminal& out) {
  const auto config = load_config(file, plugins);
  if (!config) {
    for (const ConfigError& error : config.error()) {
      (void)std::fprintf(stderr, "%s\n", printable(error.text()).c_str());
    }
    const size_t n = config.error().size();
    (void)std::fprintf(stderr, "%zu %s\n", n, n == 1 ? "error" : "errors");
    return kWrongUse;
  }
  out.line(file + ": right");
  for (const Config::Collector& collector : config->collectors) {
    for (const Endpoint& endpoint : collector.endpoints) {
      out.line("  collector " + collector.name + "  " + endpoint.text());
    }
  }
  for (const Config::Sink& sink : config->sinks) {
    out.line("  sink " + sink.worker.name + "  " + std::string(sink.plugin->name));
  }
  return kDone;
}

}  // namespace insight::cli
