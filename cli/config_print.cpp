// SPDX-License-Identifier: Apache-2.0
#include "bus/broker/config_print.hpp"

#include <memory>
#include <string>

#include "cli/config_commands.hpp"
#include "cli/exit_code.hpp"

namespace insight::cli {

namespace {

int config_print(const std::string& file, Terminal& out) {
  const auto config = read_config(file);
  if (!config) {
    print_errors_and_count(config.error());
    return kWrongUse;
  }
  out.raw(print_config(*config));
  return kDone;
}

}  // namespace

Command config_print_command() {
  const auto file = std::make_shared<std::string>();
  return {.name = "print",
          .does =
              "Shows a configuration with every value in it, defaults too, as TOML that reads "
              "back the same; secrets are masked",
          .examples = {"insightctl config print", "insightctl config print bus.toml"},
          .arguments = {{.name = "file",
                         .value = "FILE",
                         .does = "TOML file; - is standard input; without one the embedded default",
                         .target = file.get()}},
          .run = [file](Terminal& out) { return config_print(*file, out); }};
}

}  // namespace insight::cli
