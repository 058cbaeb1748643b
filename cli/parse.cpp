// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <memory>
#include <sstream>
#include <string_view>
#include <system_error>

#include <CLI/CLI.hpp>

#include "bus/base/text.hpp"
#include "cli/command.hpp"
#include "cli/exit_code.hpp"

namespace insight::cli {

namespace {

/// Help with examples first; a command keeps them in its footer.
class ExamplesFirst final : public CLI::Formatter {
 public:
  std::string make_description(const CLI::App* app) const override {
    return app->get_footer() + "\n\n" + CLI::Formatter::make_description(app);
  }

  std::string make_footer(const CLI::App*) const override { return {}; }

  /// In the list of commands the first sentence alone.
  std::string make_subcommand(const CLI::App* sub) const override {
    const std::string does = sub->get_description();
    std::stringstream out;
    CLI::detail::format_help(out, sub->get_name(), does.substr(0, does.find(". ")),
                             get_column_width());
    return out.str();
  }
};

/// Where what a line says begins: behind the name of an option or a command.
size_t hanging_indent(std::string_view line, size_t width) {
  const size_t name = line.find_first_not_of(' ');
  if (name == std::string_view::npos || name == 0) return 0;
  const size_t gap = line.find("  ", name);
  const size_t text = gap == std::string_view::npos ? name : line.find_first_not_of(' ', gap);
  return text == std::string_view::npos || text > width / 2 ? std::min(name + 4, width / 2) : text;
}

/// Help for a window; examples stay whole, to be copied.
std::string fitted(std::string_view help, size_t width) {
  std::string out;
  for (size_t from = 0; from < help.size();) {
    const size_t to = std::min(help.find('\n', from), help.size());
    const std::string_view line = help.substr(from, to - from);
    from = to + 1;
    const bool is_example = line.starts_with("insightctl ");
    out += is_example ? std::string(line) : wrapped(line, width, hanging_indent(line, width));
    out += '\n';
  }
  return out;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& known) {
  const std::vector<std::string_view> views(known.begin(), known.end());
  const std::string_view near = nearest(word, views);
  return near.empty() ? "" : ", did you mean \"" + std::string(near) + "\"?";
}

bool parse_number(std::string_view text, auto& number) {
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && rest == end;
}

bool parse_number(std::string_view text, std::chrono::nanoseconds& duration) {
  uint64_t ns = 0;
  if (!parse_duration(text, ns)) return false;
  duration = std::chrono::nanoseconds(ns);
  return true;
}

template <typename Value>
CLI::Option* add_number(CLI::App& app, const Argument& argument, Value* target, const char* form) {
  return app.add_option_function<std::string>(
      argument.name,
      [target, form, name = argument.name](const std::string& text) {
        if (parse_number(text, *target)) return;
        throw CLI::ValidationError(name, "\"" + text + "\": expected " + form);
      },
      argument.does);
}

CLI::Option* add_option(CLI::App& app, const Argument& argument, uint64_t* target) {
  return add_number(app, argument, target, "a whole number of at least 0");
}

CLI::Option* add_option(CLI::App& app, const Argument& argument, double* target) {
  return add_number(app, argument, target, "a number");
}

CLI::Option* add_option(CLI::App& app, const Argument& argument, std::chrono::nanoseconds* target) {
  return add_number(app, argument, target, "a duration like \"30s\"");
}

CLI::Option* add_option(CLI::App& app, const Argument& argument, bool* target) {
  return app.add_flag(argument.name, *target, argument.does);
}

CLI::Option* add_option(CLI::App& app, const Argument& argument, auto* target) {
  return app.add_option(argument.name, *target, argument.does);
}

CLI::Option* add_option(CLI::App& app, const Argument& argument, std::vector<std::string>* target) {
  // As they stand there: by its own conversion "{}" would be no word.
  const CLI::callback_t take = [target](const std::vector<std::string>& words) {
    *target = words;
    return true;
  };
  CLI::Option* option = app.add_option(argument.name, take, argument.does);
  // One value each time: else an option would also take the words that follow it.
  const bool is_option = !option_names(argument).empty();
  return option->expected(1, is_option ? 1 : CLI::detail::expected_max_vector_size)
      ->take_all()
      ->allow_extra_args(!is_option);
}

/// CLI11 takes "[a,b]" apart.  It does not with a NUL behind it, which no word of a command line
/// has; `bare` takes it off again.
std::string guarded(std::string word) {
  if (word.starts_with('[') && word.ends_with(']')) word += '\0';
  return word;
}

std::string bare(std::string word) {
  if (word.ends_with('\0')) word.pop_back();
  return word;
}

CLI::Validator one_of(const std::vector<std::string>& choices) {
  std::string all;
  for (const std::string& choice : choices) all += (all.empty() ? "" : "|") + choice;
  return {[choices, all](const std::string& word) -> std::string {
            if (std::ranges::find(choices, word) != choices.end()) return {};
            return "\"" + word + "\": expected " + all + did_you_mean(word, choices);
          },
          all};
}

void add(CLI::App& app, const Command& command) {
  for (const Argument& argument : command.arguments) {
    CLI::Option* option = std::visit(
        [&](auto* target) { return add_option(app, argument, target); }, argument.target);
    if (argument.is_required) option->required();
    if (!argument.choices.empty()) option->check(one_of(argument.choices));
    if (argument.value.empty()) continue;
    option->type_name(argument.value);
    option->transform(CLI::Validator([](std::string& word) { return word = bare(word), ""; }, ""));
  }
  std::string examples;
  for (const std::string& example : command.examples) {
    examples += (examples.empty() ? "" : "\n") + example;
  }
  app.footer(examples);
  // One at most: a word behind it may be called as another command is.
  if (!command.commands.empty()) app.require_subcommand(command.run ? 0 : 1, 1);
  for (const Command& each : command.commands) {
    add(*app.add_subcommand(each.name, each.does), each);
  }
}

/// The command that was parsed, and its words.
struct Parsed {
  const Command* command;
  const CLI::App* app;
  std::string words;
};

Parsed parsed(const Command& root, const CLI::App& app) {
  Parsed out{&root, &app, root.name};
  while (!out.app->get_subcommands().empty()) {
    out.app = out.app->get_subcommands().front();
    out.words += " " + out.app->get_name();
    for (const Command& each : out.command->commands) {
      if (each.name == out.app->get_name()) {
        out.command = &each;
        break;
      }
    }
  }
  return out;
}

std::string what_is_wrong(const Parsed& at, const CLI::ParseError& error) {
  const std::vector<std::string> rest = at.app->remaining();
  std::vector<std::string> known;
  if (rest.empty()) {
    if (at.command->run) return error.what();
    std::string names;
    for (const Command& each : at.command->commands) {
      names += (names.empty() ? "" : ", ") + each.name;
    }
    return "a command must follow: " + names;
  }
  const std::string word = bare(rest.front());
  if (word.starts_with('-')) {
    for (const Argument& argument : at.command->arguments) {
      for (std::string& name : option_names(argument)) known.push_back(std::move(name));
    }
    known.emplace_back("--help");
    return "there is no option \"" + word + "\"" + did_you_mean(word, known);
  }
  if (at.command->commands.empty()) return "\"" + word + "\" is one word too many";
  for (const Command& each : at.command->commands) known.push_back(each.name);
  return "there is no command \"" + word + "\"" + did_you_mean(word, known);
}

}  // namespace

std::vector<std::string> option_names(const Argument& argument) {
  std::vector<std::string> names;
  if (!argument.name.starts_with('-')) return names;
  for (size_t from = 0; from < argument.name.size();) {
    const size_t to = std::min(argument.name.find(',', from), argument.name.size());
    names.push_back(argument.name.substr(from, to - from));
    from = to + 1;
  }
  return names;
}

int run_command_line(const Command& root, int argc, char** argv, Terminal& out) {
  CLI::App app(root.does, root.name);
  app.formatter(std::make_shared<ExamplesFirst>());
  add(app, root);
  if (argc == 1) {
    (void)std::fputs(app.help().c_str(), stderr);
    return kWrongUse;
  }
  try {
    std::vector<std::string> words;  // the last one first
    for (int i = argc - 1; i > 0; --i) words.push_back(guarded(argv[i]));
    app.parse(std::move(words));
  } catch (const CLI::ParseError& error) {
    const Parsed at = parsed(root, app);
    const std::vector<std::string> rest = at.app->remaining();
    const bool is_known = at.command->commands.empty() || rest.empty() || rest[0].starts_with('-');
    if (error.get_exit_code() == 0 && is_known) {
      const std::string help = app.help();
      out.raw(out.width() == 0 ? help : fitted(help, out.width()));
      return kDone;
    }
    const std::string wrong = what_is_wrong(at, error);
    complain(wrong + (wrong.ends_with('?') ? " See " : "; see ") + at.words + " --help");
    return kWrongUse;
  }
  return parsed(root, app).command->run(out);
}

}  // namespace insight::cli
