// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cli/terminal.hpp"

namespace insight::cli {

/// Where a parsed argument is written to.  A bool is a flag without a value; a vector takes the
/// argument as often as it stands there; a duration is a number with a unit ("30s").
using Target = std::variant<std::string*, std::optional<std::string>*, std::vector<std::string>*,
                            uint64_t*, double*, bool*, std::chrono::nanoseconds*>;

/// One argument of a command.  Constant.
struct Argument {
  std::string name;   ///< "--http", "-n,--count", or for a positional one its plain name: "file"
  std::string value;  ///< what stands for the value: "HOST:PORT"; a flag has none
  std::string does;   ///< help, without a full stop; names the default
  Target target;      ///< must live as long as the command
  bool is_required = false;
  std::vector<std::string> choices = {};  ///< what is allowed; empty: anything
};

/// One command of insightctl with those below it, as the parser, the help, the completions and the
/// manual read it.  Constant.
struct Command {
  std::string name;
  std::string does;                   ///< the first sentence is the summary
  std::vector<std::string> examples;  ///< whole command lines; every one is run by a test
  std::vector<Argument> arguments = {};
  std::vector<Command> commands = {};
  /// Writes to the terminal, returns an ExitCode.  Empty where a further command must follow.
  std::function<int(Terminal&)> run = {};
};

/// The option names of an argument, in the order of its name; one that is positional has none.
std::vector<std::string> option_names(const Argument& argument);

/// Parses the line against the tree and runs what it names.  Help goes to standard output;
/// everything that is wrong is told in one line with the nearest name and returns kWrongUse.
int run_command_line(const Command& root, int argc, char** argv, Terminal& out);

}  // namespace insight::cli
