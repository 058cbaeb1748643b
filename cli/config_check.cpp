// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <string>
#include <vector>

#include "cli/config_commands.hpp"
#include "cli/exit_code.hpp"

namespace insight::cli {

namespace {

void show(const std::string& file, const Config& config, Terminal& out) {
  out.line(file + ": right");
  for (const Config::Collector& collector : config.collectors) {
    for (const Endpoint& endpoint : collector.endpoints) {
      out.line("  collector " + collector.name + "  " + endpoint.text());
    }
  }
  for (const Config::Sink& sink : config.sinks) {
    out.line("  sink " + sink.worker.name + "  " + std::string(sink.plugin->name));
  }
}

int config_check(const std::vector<std::string>& files, Terminal& out) {
  std::vector<ConfigError> errors;
  for (const std::string& file : files) {
    const auto config = read_config(file);
    if (config) {
      show(file == "-" ? "standard input" : file, *config, out);
    } else {
      errors.insert(errors.end(), config.error().begin(), config.error().end());
    }
  }
  if (errors.empty()) return kDone;
  print_errors_and_count(errors);
  return kWrongUse;
}

}  // namespace

Command config_check_command() {
  const auto files = std::make_shared<std::vector<std::string>>();
  return {.name = "check",
          .does =
              "Says everything that is wrong with files, with line and column. It opens and "
              "binds nothing: whether paths can be written and addresses are free shows at the "
              "start of the broker",
          .examples = {"insightctl config check bus.toml",
                       "insightctl config init | insightctl config check -"},
          .arguments = {{.name = "file",
                         .value = "FILE",
                         .does = "TOML files; - is standard input",
                         .target = files.get(),
                         .is_required = true}},
          .run = [files](Terminal& out) { return config_check(*files, out); }};
}

}  // namespace insight::cli
