// SPDX-License-Identifier: Apache-2.0
#include "cli/man_text.hpp"

#include <algorithm>
#include <array>
#include <string_view>

#include <nlohmann/json.hpp>

#include "bus/broker/version.hpp"
#include "cli/command_tree.hpp"
#include "cli/exit_code.hpp"

namespace insight::cli {

namespace {

using nlohmann::ordered_json;

struct Entry {
  std::string_view name;
  std::string_view means;
};

struct Exit {
  int code;
  std::string_view means;
};

constexpr std::array<Exit, 5> kExits{{
    {kDone, "done; also after Ctrl+C or SIGTERM when the stop ended in time"},
    {kProblem, "it ran and found a problem"},
    {kWrongUse, "wrong use or configuration"},
    {kNoBroker, "no broker answers"},
    {kInterrupted, "a second signal cut a stop short"},
}};

constexpr std::array<Entry, 9> kEnvironment{{
    {"INSIGHT_HTTP", "HOST:PORT where commands ask the broker, when there is no --http"},
    {"INSIGHT_CONFIG", "the file of \"bus run\", when there is no --config"},
    {"INSIGHT_ENDPOINT",
     "where publishers send to: every program that links the library, and the "
     "commands that publish"},
    {"INSIGHT_RUN, INSIGHT_ROLE, INSIGHT_RANK", "what publishers say of themselves"},
    {"NO_COLOR", "when it is set and not empty: no colours, on a terminal either"},
    {"COLUMNS", "the width of lines where the terminal does not tell it"},
    {"XDG_RUNTIME_DIR", "holds insight/bus.ipc, the socket of the broker"},
    {"XDG_STATE_HOME",
     "holds insight/, the state directory of the broker; ~/.local/state without it"},
    {"TMPDIR", "holds what \"bench --own\" needs"},
}};

constexpr std::array<Entry, 4> kFiles{{
    {"/etc/insight/environment",
     "variables of the service insight.service, a line each: "
     "INSIGHT_CONFIG=/etc/insight/bus.toml"},
    {"/var/lib/insight",
     "the state of the service: snapshots of totals, and what the file sink writes"},
    {"~/.local/state/insight", "the state of a broker without a configuration"},
    {"/run/insight/bus.ipc",
     "the socket of root's broker and of the service; else "
     "$XDG_RUNTIME_DIR/insight/bus.ipc"},
}};

/// Text that roff does not take for requests.
std::string roff(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool begins_line = out.empty() || out.back() == '\n';
    if (begins_line && (c == '.' || c == '\'')) out += "\\&";
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else if (c == '~') {
      out += "\\(ti";
    } else if (c == '^') {
      out += "\\(ha";
    } else if (c == '`') {
      out += "\\(ga";
    } else if (c == '\'') {
      out += "\\(aq";
    } else {
      out += c;
    }
  }
  return out;
}

/// Paragraphs: an empty line in the text begins a new one.
std::string roff_paragraphs(const std::string& text) {
  std::string out = roff(text);
  for (size_t at = 0; (at = out.find("\n\n", at)) != std::string::npos;) {
    out.replace(at, 2, "\n.PP\n");
  }
  return out;
}

/// A term and what it means, indented below it.
std::string tagged(std::string_view term, std::string_view means) {
  return ".TP\n\\fB" + roff(term) + "\\fR\n" + roff(means) + "\n";
}

template <size_t kCount>
std::string tagged(const std::array<Entry, kCount>& entries) {
  std::string out;
  for (const Entry& entry : entries) out += tagged(entry.name, entry.means);
  return out;
}

/// "-n, --count N".
std::string term_of(const Argument& argument) {
  std::string out;
  for (const std::string& name : option_names(argument)) out += (out.empty() ? "" : ", ") + name;
  if (takes_value(argument)) {
    out += (out.empty() ? "" : " ") + argument.value;
  } else if (out.empty()) {
    out = argument.name;
  }
  return out;
}

std::string choices_of(const Argument& argument) {
  std::string out;
  for (const std::string& choice : argument.choices) out += (out.empty() ? ": " : ", ") + choice;
  return out;
}

std::vector<Argument> arguments_of(const Command& command) {
  std::vector<Argument> out = positionals_of(command);
  for (Argument& option : options_of(command)) {
    // All have it, so it is said once.
    if (option_names(option).back() != "--help") out.push_back(std::move(option));
  }
  return out;
}

std::string roff_examples(const std::vector<std::string>& examples) {
  std::string out = ".PP\n.EX\n";
  for (const std::string& example : examples) out += roff(example) + "\n";
  return out + ".EE\n";
}

std::string roff_command(const CommandAt& at) {
  std::string out = ".SS " + roff(at.path.substr(at.path.find(' ') + 1)) + "\n" +
                    roff(usage_of(at)) + "\n.PP\n" + roff_paragraphs(at.command->does) + ".\n";
  for (const Argument& argument : arguments_of(*at.command)) {
    out += tagged(term_of(argument), argument.does + choices_of(argument));
  }
  return out;
}

/// Text inside a table of Markdown.
std::string cell(std::string text) {
  for (size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2)
    text.insert(at, "\\");
  return text;
}

ordered_json to_json(const Command& command) {
  ordered_json arguments = ordered_json::array(), commands = ordered_json::array();
  for (const Argument& argument : command.arguments) {
    arguments.push_back({{"name", argument.name},
                         {"value", argument.value},
                         {"does", argument.does},
                         {"required", argument.is_required},
                         {"repeated", is_repeated(argument)},
                         {"choices", argument.choices}});
  }
  for (const Command& each : command.commands) commands.push_back(to_json(each));
  return {{"name", command.name},
          {"does", command.does},
          {"examples", command.examples},
          {"arguments", std::move(arguments)},
          {"commands", std::move(commands)}};
}

}  // namespace

std::string exit_codes_sentence() {
  std::string out;
  for (const auto& [code, means] : kExits) {
    out += (out.empty() ? "" : ", ") + std::to_string(code) + " " +
           std::string(means.substr(0, means.find(';')));
  }
  return out;
}

std::string man_page(const Command& root) {
  const std::vector<CommandAt> all = all_commands(root);
  std::string out =
      ".\\\" Made by: insightctl man\n.TH INSIGHTCTL 1 \"\" \"Insight Bus " + roff(version()) +
      "\" \"User Commands\"\n.nh\n.ad l\n" + ".SH NAME\ninsightctl \\- " + roff(summary_of(root)) +
      "\n.SH SYNOPSIS\n.B insightctl\n.I COMMAND\n[\\fIOPTION\\fR]...\n"
      ".SH DESCRIPTION\n" +
      roff_paragraphs(root.does.substr(0, root.does.find("\n\n"))) + "\n" + ".SH OPTIONS\n";
  for (const Argument& option : options_of(root)) out += tagged(term_of(option), option.does);
  out += ".SH COMMANDS\nAll of them know\n.BR \\-\\-help .\n";
  for (const CommandAt& at : all) {
    if (at.command != &root && at.command->run) out += roff_command(at);
  }
  out += ".SH EXIT STATUS\n";
  for (const auto& [code, means] : kExits) out += tagged(std::to_string(code), means);
  out += ".SH ENVIRONMENT\n" + tagged(kEnvironment) + ".SH FILES\n" + tagged(kFiles) +
         ".SH EXAMPLES\n";
  for (const CommandAt& at : all) {
    if (at.command->run && at.command != &root) {
      out += roff(summary_of(*at.command)) + ":\n" + roff_examples(at.command->examples) + ".PP\n";
    }
  }
  return out;
}

std::string markdown_reference(const Command& root) {
  std::string out =
      "# insightctl\n\n<!-- Made by: insightctl man --format markdown -->\n\n" + root.does + "\n";
  for (const CommandAt& at : all_commands(root)) {
    if (at.command == &root || !at.command->run) continue;
    out += "\n## `" + at.path + "`\n\n" + at.command->does + ".\n\n";
    for (const std::string& example : at.command->examples) out += "    " + example + "\n";
    const std::vector<Argument> arguments = arguments_of(*at.command);
    if (arguments.empty()) continue;
    out += "\n| argument | meaning |\n| --- | --- |\n";
    for (const Argument& argument : arguments) {
      out += "| `" + cell(term_of(argument)) + "` | " + cell(argument.does + choices_of(argument)) +
             (argument.is_required ? "; required" : "") + " |\n";
    }
  }
  out += "\n## Environment\n\n| variable | meaning |\n| --- | --- |\n";
  for (const Entry& entry : kEnvironment) {
    out += "| `" + std::string(entry.name) + "` | " + std::string(entry.means) + " |\n";
  }
  return out;
}

std::string json_reference(const Command& root) { return to_json(root).dump(2) + "\n"; }

}  // namespace insight::cli
