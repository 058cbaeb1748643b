// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <string>

#include "bus/pipeline/sink_plugin.hpp"
#include "cli/commands.hpp"
#include "cli/config_commands.hpp"

namespace insight::cli {

Result<Config, std::vector<ConfigError>> read_config(const std::string& file) {
  if (file != "-") return load_config(file, sink_plugins());
  return load_config("/dev/stdin", sink_plugins(), {}, "standard input");
}

void print_errors(const std::vector<ConfigError>& errors) {
  for (const ConfigError& error : errors) {
    // A place in a file comes first on its line, for editors; anything else says who complains.
    if (error.file.starts_with("--")) {
      complain(error.text());
    } else {
      (void)std::fprintf(stderr, "%s\n", printable(error.text()).c_str());
    }
  }
}

void print_errors_and_count(const std::vector<ConfigError>& errors) {
  print_errors(errors);
  (void)std::fprintf(stderr, "%zu %s\n", errors.size(), errors.size() == 1 ? "error" : "errors");
}

Command config_command() {
  return {.name = "config",
          .does = "Configuration files",
          .examples = {"insightctl config init > bus.toml", "insightctl config check bus.toml"},
          .commands = {config_check_command(), config_init_command(), config_print_command()}};
}

}  // namespace insight::cli
