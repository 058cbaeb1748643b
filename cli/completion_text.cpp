// SPDX-License-Identifier: Apache-2.0
#include "cli/completion_text.hpp"

#include <algorithm>
#include <string_view>
#include <vector>

#include "cli/command_tree.hpp"

namespace insight::cli {

namespace {

std::string replaced(std::string text, std::string_view what, std::string_view by) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size()) {
    text.replace(at, what.size(), by);
  }
  return text;
}

/// For sh, bash and zsh.
std::string quoted(const std::string& text) { return "'" + replaced(text, "'", "'\\''") + "'"; }

std::string fish_quoted(const std::string& text) {
  return "'" + replaced(replaced(text, "\\", "\\\\"), "'", "\\'") + "'";
}

std::string joined(const std::vector<std::string>& words, std::string_view between) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : std::string(between)) + word;
  return out;
}

std::vector<std::string> names_of(const std::vector<Command>& commands) {
  std::vector<std::string> out;
  for (const Command& each : commands) out.push_back(each.name);
  return out;
}

std::vector<std::string> option_names_of(const Command& command) {
  std::vector<std::string> out;
  for (const Argument& option : options_of(command)) {
    for (std::string& name : option_names(option)) out.push_back(std::move(name));
  }
  return out;
}

/// The patterns of a `case` in bash or fish that lead one command further, and those of options
/// that take the next word with them.
struct Walk {
  std::vector<std::string> further;
  std::vector<std::string> with_value;
};

Walk walk_of(const std::vector<CommandAt>& all) {
  Walk walk;
  for (const auto& [path, command] : all) {
    for (const Command& each : command->commands) walk.further.push_back(path + " " + each.name);
    for (const Argument& option : options_of(*command)) {
      if (!takes_value(option)) continue;
      for (const std::string& name : option_names(option)) {
        walk.with_value.push_back(path + " " + name);
      }
    }
  }
  return walk;
}

std::vector<std::string> all_quoted(std::vector<std::string> words,
                                    std::string (*quote)(const std::string&)) {
  std::ranges::transform(words, words.begin(), quote);
  return words;
}

/// What bash does for one value.
std::string bash_value(const Argument& argument) {
  switch (kind_of(argument)) {
    case ValueKind::choice:
      return "_insightctl_words " + quoted(joined(argument.choices, " "));
    case ValueKind::file:
      return "_insightctl_files -f";
    case ValueKind::directory:
      return "_insightctl_files -d";
    case ValueKind::program:
      return "_insightctl_files -c";
    case ValueKind::anything:
      return ":";
  }
  return ":";
}

/// Where the positional argument number i stands, as a pattern of bash and fish: "path:i".
std::vector<std::pair<std::string, const Argument*>> places_of(
    const std::string& path, const std::vector<Argument>& positionals) {
  std::vector<std::pair<std::string, const Argument*>> out;
  for (size_t i = 0; i < positionals.size(); ++i) {
    // The last one may go on and on.
    const bool goes_on = is_repeated(positionals[i]);
    out.emplace_back(path + ":" + (goes_on ? "" : std::to_string(i)), &positionals[i]);
  }
  return out;
}

std::string zsh_escaped(std::string text) {
  for (const char* special : {"\\", "[", "]", ":"}) {
    text = replaced(std::move(text), special, "\\" + std::string(special));
  }
  return text;
}

/// ":HOST:PORT:" with what to offer, as _arguments reads it.
std::string zsh_value(const Argument& argument) {
  std::string out = ":" + zsh_escaped(argument.value) + ":";
  switch (kind_of(argument)) {
    case ValueKind::choice:
      return out + "(" + joined(argument.choices, " ") + ")";
    case ValueKind::file:
      return out + "_files";
    case ValueKind::directory:
      return out + "_files -/";
    case ValueKind::program:
      return out + " _command_names -e";
    case ValueKind::anything:
      return out + " ";
  }
  return out;
}

std::string zsh_function(const std::string& path) { return "_" + replaced(path, " ", "__"); }

std::string zsh_arguments(const Command& command) {
  std::string out;
  for (const Argument& option : options_of(command)) {
    for (const std::string& name : option_names(option)) {
      const std::string repeat = is_repeated(option) ? "*" : "";
      out += " \\\n    " + quoted(repeat + name + "[" + zsh_escaped(option.does) + "]" +
                                  (takes_value(option) ? zsh_value(option) : ""));
    }
  }
  return out;
}

std::string zsh_command(const CommandAt& at) {
  const Command& command = *at.command;
  std::string out = zsh_function(at.path) + "() {\n";
  if (command.commands.empty()) {
    out += "  _arguments -S" + zsh_arguments(command);
    for (const Argument& argument : positionals_of(command)) {
      const bool is_program = kind_of(argument) == ValueKind::program;
      const char* before = is_program ? "(-)1" : is_repeated(argument) ? "*" : "";
      out += " \\\n    " + quoted(before + zsh_value(argument));
      // What follows a program is the program's.
      if (is_program) out += " \\\n    '*:: :_normal'";
    }
    return out + "\n}\n\n";
  }
  out += "  local curcontext=\"$curcontext\" state line\n  local -a below\n  _arguments -C" +
         zsh_arguments(command) +
         " \\\n    '1: :->command' \\\n    '*:: :->rest'\n  case $state in\n    command)\n      "
         "below=(\n";
  for (const Command& each : command.commands) {
    out += "        " + quoted(zsh_escaped(each.name) + ":" + summary_of(each)) + "\n";
  }
  out += "      )\n      _describe command below ;;\n    rest)\n      case $words[1] in\n";
  for (const Command& each : command.commands) {
    out += "        " + each.name + ") " + zsh_function(at.path + " " + each.name) + " ;;\n";
  }
  return out + "      esac ;;\n  esac\n}\n\n";
}

/// What fish offers where `pattern` holds.
std::string fish_line(const std::string& pattern, const std::string& rest) {
  return "complete -c insightctl -n " + fish_quoted("__insightctl_at " + fish_quoted(pattern)) +
         rest + "\n";
}

std::string fish_value(const Argument& argument) {
  switch (kind_of(argument)) {
    case ValueKind::choice:
      return " -f -a " + fish_quoted(joined(argument.choices, " "));
    case ValueKind::file:
      return " -F";
    case ValueKind::directory:
      return " -f -a '(__fish_complete_directories)'";
    case ValueKind::program:
      return " -f -a '(__fish_complete_command)'";
    case ValueKind::anything:
      return " -f";
  }
  return "";
}

std::string fish_option(const std::string& path, const Argument& option) {
  std::string out;
  for (const std::string& name : option_names(option)) {
    const bool is_long = name.starts_with("--");
    out += (is_long ? " -l " : " -s ") + name.substr(is_long ? 2 : 1);
  }
  if (takes_value(option)) out += " -r" + fish_value(option);
  return fish_line(path + ":*", out + " -d " + fish_quoted(option.does));
}

}  // namespace

std::string bash_completion(const Command& root) {
  const std::vector<CommandAt> all = all_commands(root);
  const Walk walk = walk_of(all);
  std::string out =
      "# bash completion for insightctl, made by: insightctl completion bash\n"
      "_insightctl_words() { mapfile -t COMPREPLY < <(compgen -W \"$1\" -- \"$cur\"); }\n"
      "_insightctl_files() {\n"
      "  compopt -o filenames 2>/dev/null\n"
      "  mapfile -t COMPREPLY < <(compgen \"$1\" -- \"$cur\")\n"
      "}\n"
      "_insightctl() {\n"
      "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
      "  local path=insightctl word i n=0 plain=\n"
      "  COMPREPLY=()\n"
      "  # The shell makes three words of --option=value.\n"
      "  if [[ $cur == = ]]; then cur=; elif [[ $prev == = ]]; then "
      "prev=${COMP_WORDS[COMP_CWORD-2]}; fi\n"
      "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
      "    word=${COMP_WORDS[i]}\n"
      "    if [[ -n $plain ]]; then ((++n)); continue; fi\n"
      "    case \"$path $word\" in\n"
      "      " +
      joined(all_quoted(walk.further, quoted), " | \\\n      ") +
      ")\n"
      "        path=\"$path $word\" n=0 ;;\n";
  if (!walk.with_value.empty()) {
    out += "      " + joined(all_quoted(walk.with_value, quoted), " | \\\n      ") +
           ")\n"
           "        if [[ ${COMP_WORDS[i+1]} == = ]]; then ((++i)); fi\n"
           "        ((++i)) ;;\n";
  }
  out +=
      "      *' --') plain=1 ;;\n      *' -'*) ;;\n      *) ((++n)) ;;\n    esac\n  done\n"
      "  if [[ -z $plain ]]; then\n    case \"$path $prev\" in\n";
  for (const auto& [path, command] : all) {
    for (const Argument& option : options_of(*command)) {
      if (!takes_value(option)) continue;
      std::vector<std::string> patterns;
      for (const std::string& name : option_names(option)) patterns.push_back(path + " " + name);
      out += "      " + joined(all_quoted(std::move(patterns), quoted), " | ") + ") " +
             bash_value(option) + "; return ;;\n";
    }
  }
  out += "    esac\n    if [[ $cur == -* ]]; then\n      case \"$path\" in\n";
  for (const auto& [path, command] : all) {
    out += "        " + quoted(path) + ") _insightctl_words " +
           quoted(joined(option_names_of(*command), " ")) + " ;;\n";
  }
  out += "      esac\n      return\n    fi\n  fi\n  case \"$path:$n\" in\n";
  for (const auto& [path, command] : all) {
    if (!command->commands.empty()) {
      out += "    " + quoted(path + ":0") + ") _insightctl_words " +
             quoted(joined(names_of(command->commands), " ")) + " ;;\n";
    }
    const std::vector<Argument> positionals = positionals_of(*command);
    for (const auto& [place, argument] : places_of(path, positionals)) {
      out += "    " + quoted(place) + (place.ends_with(':') ? "*" : "") + ") " +
             bash_value(*argument) + " ;;\n";
    }
  }
  return out + "  esac\n}\ncomplete -F _insightctl insightctl\n";
}

std::string zsh_completion(const Command& root) {
  std::string out =
      "#compdef insightctl\n# zsh completion for insightctl, made by: insightctl completion "
      "zsh\n\n";
  for (const CommandAt& at : all_commands(root)) out += zsh_command(at);
  return out +
         "if [ \"$funcstack[1]\" = \"_insightctl\" ]; then\n  _insightctl \"$@\"\nelse\n"
         "  compdef _insightctl insightctl\nfi\n";
}

std::string fish_completion(const Command& root) {
  const std::vector<CommandAt> all = all_commands(root);
  const Walk walk = walk_of(all);
  std::string out =
      "# fish completion for insightctl, made by: insightctl completion fish\n"
      "# Prints the command that is being written and how many of its arguments are there.\n"
      "function __insightctl_place\n"
      "  set -l path insightctl\n"
      "  set -l n 0\n"
      "  set -l skip\n"
      "  set -l plain\n"
      "  set -l words (commandline -opc)\n"
      "  set -e words[1]\n"
      "  for word in $words\n"
      "    if test -n \"$plain\"\n      set n (math $n + 1)\n      continue\n    end\n"
      "    if test -n \"$skip\"\n      set skip\n      continue\n    end\n"
      "    switch \"$path $word\"\n"
      "      case " +
      joined(all_quoted(walk.further, fish_quoted), " \\\n        ") +
      "\n"
      "        set path \"$path $word\"\n        set n 0\n";
  if (!walk.with_value.empty()) {
    out += "      case " + joined(all_quoted(walk.with_value, fish_quoted), " \\\n        ") +
           "\n"
           "        set skip 1\n";
  }
  out +=
      "      case '* --'\n        set plain 1\n"
      "      case '* -*'\n"
      "      case '*'\n        set n (math $n + 1)\n"
      "    end\n  end\n  echo \"$path:$n\"\nend\n"
      "function __insightctl_at\n  string match -q -- $argv[1] (__insightctl_place)\nend\n\n"
      "complete -c insightctl -f\n";
  for (const auto& [path, command] : all) {
    for (const Command& each : command->commands) {
      out += fish_line(path + ":0", " -a " + each.name + " -d " + fish_quoted(summary_of(each)));
    }
    const std::vector<Argument> positionals = positionals_of(*command);
    for (const auto& [place, argument] : places_of(path, positionals)) {
      if (kind_of(*argument) == ValueKind::anything) continue;
      out += fish_line(place + (place.ends_with(':') ? "*" : ""), fish_value(*argument));
    }
    for (const Argument& option : options_of(*command)) out += fish_option(path, option);
  }
  return out;
}

}  // namespace insight::cli
