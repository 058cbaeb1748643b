// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "bus/broker/run.hpp"
#include "bus/pipeline/sink_plugin.hpp"
#include "cli/commands.hpp"
#include "cli/config_commands.hpp"
#include "cli/exit_code.hpp"

namespace insight::cli {

namespace {

struct BusRunOptions {
  std::string config;  // empty: INSIGHT_CONFIG, else the embedded default
  ConfigOverrides overrides;
  std::string log_format = "text";
};

int bus_run(const BusRunOptions& options) {
  std::string path = options.config;
  if (path.empty()) {
    const char* environment = std::getenv("INSIGHT_CONFIG");
    if (environment != nullptr) path = environment;
  }
  auto config = load_config(path, sink_plugins(), options.overrides);
  if (!config) {
    print_errors(config.error());
    return kWrongUse;
  }
  return run_broker(std::move(*config),
                    options.log_format == "json" ? LogFormat::json : LogFormat::text);
}

}  // namespace

Command bus_command() {
  const auto options = std::make_shared<BusRunOptions>();
  Command run{
      .name = "run",
      .does =
          "Runs the broker in the foreground until SIGTERM or Ctrl+C. Without a file it listens "
          "on loopback and ipc, serves /metrics and writes a file",
      .examples = {"insightctl bus run --config bus.toml"},
      .arguments = {{.name = "--config",
                     .value = "FILE",
                     .does = "TOML file (else INSIGHT_CONFIG, else the embedded default)",
                     .target = &options->config},
                    {.name = "--listen",
                     .value = "ENDPOINT",
                     .does = "where publishers connect to",
                     .target = &options->overrides.listen},
                    {.name = "--http",
                     .value = "HOST:PORT",
                     .does = "where HTTP is served",
                     .target = &options->overrides.http},
                    {.name = "--log-format",
                     .value = "FORMAT",
                     .does = "text or json",
                     .target = &options->log_format,
                     .choices = {"text", "json"}}},
      .run = [options](Terminal&) { return bus_run(*options); }};
  return {.name = "bus",
          .does = "The broker",
          .examples = {"insightctl bus run"},
          .commands = {std::move(run)}};
}

}  // namespace insight::cli
