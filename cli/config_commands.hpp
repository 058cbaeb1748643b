// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "bus/broker/config.hpp"
#include "cli/command.hpp"

namespace insight::cli {

/// The commands below `config`, one file each.
Command config_check_command();
Command config_init_command();
Command config_print_command();

/// Reads and checks a configuration: of a file, of standard input for "-", the embedded default for
/// nothing.
Result<Config, std::vector<ConfigError>> read_config(const std::string& file);

/// Writes errors to standard error, a line each.
void print_errors(const std::vector<ConfigError>& errors);
void print_errors_and_count(const std::vector<ConfigError>& errors);

}  // namespace insight::cli
