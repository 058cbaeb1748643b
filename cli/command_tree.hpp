// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/command.hpp"

namespace insight::cli {

/// A command with the words that lead to it: "insightctl bus run".
struct CommandAt {
  std::string path;
  const Command* command;
};

/// `root` and all commands below it, each before those that it holds.
std::vector<CommandAt> all_commands(const Command& root);

/// The options of a command, with `--help`, which all have.
std::vector<Argument> options_of(const Command& command);

/// Its arguments that are no options.
std::vector<Argument> positionals_of(const Command& command);

/// True when a value must follow the option.
bool takes_value(const Argument& argument);

/// True when it may stand there any number of times.
bool is_repeated(const Argument& argument);

/// What a shell can offer for a value.
enum class ValueKind { anything, choice, file, directory, program };
ValueKind kind_of(const Argument& argument);

/// "Runs the broker in the foreground": the first sentence of what a command does.
std::string summary_of(const Command& command);

/// "insightctl publishers [--http HOST:PORT] [--json] ...": how a command is written.
std::string usage_of(const CommandAt& at);

}  // namespace insight::cli
