// SPDX-License-Identifier: Apache-2.0
#include "cli/command_tree.hpp"

#include <algorithm>

namespace insight::cli {

namespace {

void collect(const Command& command, const std::string& path, std::vector<CommandAt>& out) {
  out.push_back({path, &command});
  for (const Command& each : command.commands) collect(each, path + " " + each.name, out);
}

bool is_option(const Argument& argument) { return argument.name.starts_with('-'); }

}  // namespace

std::vector<CommandAt> all_commands(const Command& root) {
  std::vector<CommandAt> out;
  collect(root, root.name, out);
  return out;
}

std::vector<Argument> options_of(const Command& command) {
  std::vector<Argument> out;
  for (const Argument& argument : command.arguments) {
    if (is_option(argument)) out.push_back(argument);
  }
  out.push_back({.name = "-h,--help", .value = {}, .does = "says how it is used", .target = {}});
  return out;
}

std::vector<Argument> positionals_of(const Command& command) {
  std::vector<Argument> out;
  for (const Argument& argument : command.arguments) {
    if (!is_option(argument)) out.push_back(argument);
  }
  return out;
}

bool takes_value(const Argument& argument) { return !argument.value.empty(); }

bool is_repeated(const Argument& argument) {
  return std::holds_alternative<std::vector<std::string>*>(argument.target);
}

ValueKind kind_of(const Argument& argument) {
  if (!argument.choices.empty()) return ValueKind::choice;
  if (argument.value == "FILE") return ValueKind::file;
  if (argument.value == "DIR") return ValueKind::directory;
  if (argument.value.starts_with("CMD")) return ValueKind::program;
  return ValueKind::anything;
}

std::string summary_of(const Command& command) {
  const size_t end = std::min(command.does.find(". "), command.does.find('\n'));
  std::string out = command.does.substr(0, end);
  if (out.ends_with('.')) out.pop_back();
  return out;
}

std::string usage_of(const CommandAt& at) {
  std::string out = at.path;
  for (const Argument& option : options_of(*at.command)) {
    const std::string name = option_names(option).back();
    if (name == "--help") continue;
    const std::string text = name + (takes_value(option) ? " " + option.value : "");
    out += option.is_required ? " " + text : " [" + text + "]";
  }
  if (!at.command->commands.empty()) out += at.command->run ? " [COMMAND]" : " COMMAND";
  for (const Argument& argument : positionals_of(*at.command)) {
    const std::string text = argument.value + (is_repeated(argument) ? "..." : "");
    out += argument.is_required ? " " + text : " [" + text + "]";
  }
  return out;
}

}  // namespace insight::cli
