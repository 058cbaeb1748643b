// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <memory>
#include <string>

#include "bus/broker/config.hpp"
#include "bus/pipeline/sink_plugin.hpp"
#include "cli/commands.hpp"
#include "cli/exit_code.hpp"

namespace insight::cli {

namespace {

int config_check(const std::string& file, Terminal& out) {
  const auto config = load_config(file, sink_plugins());
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

}  // namespace

Command config_command() {
  const auto file = std::make_shared<std::string>();
  Command check{.name = "check",
                .does = "Says everything that is wrong with a file, with line and column",
                .examples = {"insightctl config check bus.toml"},
                .arguments = {{.name = "file",
                               .value = "FILE",
                               .does = "TOML file",
                               .target = file.get(),
                               .is_required = true}},
                .run = [file](Terminal& out) { return config_check(*file, out); }};
  return {.name = "config",
          .does = "Configuration files",
          .examples = {"insightctl config check bus.toml"},
          .commands = {std::move(check)}};
}

}  // namespace insight::cli
