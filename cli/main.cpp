// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>

#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <unistd.h>

#include "bus/base/text.hpp"
#include "bus/pipeline/sink_plugin.hpp"
#include "cli/commands.hpp"

namespace insight::cli {

void complain(const std::string& sentence) {
  (void)std::fprintf(stderr, "insightctl: %s\n", printable(sentence).c_str());
}

namespace {

/// Started with a standard descriptor closed, the next file or socket would take its number, and
/// log lines would go there.
void open_standard_descriptors() {
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(fd, F_GETFD) == -1 && errno == EBADF) {
      (void)open("/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_WRONLY);
    }
  }
}

struct Options {
  BusRunOptions bus_run;
  std::string log_format = "text";
  AskOptions ask;
  PublishersOptions publishers;
  std::string config_file;
  bool version_json = false;
};

/// Help with an example first; a command keeps its example in the footer.
class ExampleFirst final : public CLI::Formatter {
 public:
  std::string make_description(const CLI::App* app) const override {
    return app->get_footer() + "\n\n" + CLI::Formatter::make_description(app);
  }

  std::string make_footer(const CLI::App*) const override { return {}; }
};

CLI::App* add_command(CLI::App& parent, const char* name, const char* does, const char* example) {
  CLI::App* command = parent.add_subcommand(name, does);
  command->footer(example);
  return command;
}

void add_ask_options(CLI::App& command, AskOptions& ask) {
  command
      .add_option("--http", ask.http,
                  "where the broker answers (else INSIGHT_HTTP, else 127.0.0.1:9092)")
      ->type_name("HOST:PORT");
  command.add_flag("--json", ask.json, "JSON instead of text");
}

CLI::App* add_bus(CLI::App& app, Options& options) {
  CLI::App* bus = add_command(app, "bus", "The broker", "insightctl bus run");
  bus->require_subcommand(1);
  CLI::App* run =
      add_command(*bus, "run",
                  "Runs the broker in the foreground until SIGTERM or Ctrl+C. Without a "
                  "file it listens on loopback and ipc, serves /metrics and writes a file",
                  "insightctl bus run --config bus.toml");
  run->add_option("--config", options.bus_run.config,
                  "TOML file (else INSIGHT_CONFIG, else the embedded default)")
      ->type_name("FILE");
  run->add_option("--listen", options.bus_run.overrides.listen, "where publishers connect to")
      ->type_name("ENDPOINT");
  run->add_option("--http", options.bus_run.overrides.http, "where HTTP is served")
      ->type_name("HOST:PORT");
  run->add_option("--log-format", options.log_format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->type_name("FORMAT");
  return bus;
}

std::string what_is_wrong(const CLI::App& command, const CLI::ParseError& error) {
  const std::vector<std::string> rest = command.remaining();
  std::vector<std::string_view> known;
  for (const CLI::App* each : command.get_subcommands([](const CLI::App*) { return true; })) {
    known.push_back(each->get_name());
  }
  if (known.empty() || rest.empty() || rest.front().starts_with('-')) return error.what();
  const std::string_view near = nearest(rest.front(), known);
  return "there is no command \"" + rest.front() + "\"" +
         (near.empty() ? "" : ", did you mean \"" + std::string(near) + "\"?");
}

/// Help goes to standard output and is no error; everything else is wrong use.
int answer(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return app.exit(error);
  const CLI::App* command = &app;
  std::string words = "insightctl";
  while (!command->get_subcommands().empty()) {
    command = command->get_subcommands().front();
    words += " " + command->get_name();
  }
  complain(what_is_wrong(*command, error) + "; see " + words + " --help");
  return kWrongUse;
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app(
      "The telemetry bus: publishers send to it, Prometheus and files read from it.\n\n"
      "Exit codes: 0 done, 1 found a problem, 2 wrong use or configuration, 3 no broker answers,\n"
      "130 a second signal cut a stop short.",
      "insightctl");
  app.formatter(std::make_shared<ExampleFirst>());
  app.footer("insightctl bus run      start a broker\ninsightctl status       see how it is");
  app.require_subcommand(1);
  const CLI::App* bus = add_bus(app, options);
  CLI::App* show_status = add_command(
      app, "status",
      "One screen: collectors, sinks, publishers, limits. 0 healthy, 1 degraded, 3 no broker",
      "insightctl status");
  add_ask_options(*show_status, options.ask);
  CLI::App* show_publishers =
      add_command(app, "publishers", "Who sends", "insightctl publishers --state alive");
  add_ask_options(*show_publishers, options.publishers.ask);
  show_publishers->add_option("--state", options.publishers.state, "only those in this state")
      ->check(CLI::IsMember({"alive", "late", "lost", "ended"}))
      ->type_name("STATE");
  show_publishers->add_option("--limit", options.publishers.limit, "at most so many (100)")
      ->type_name("N");
  CLI::App* config =
      add_command(app, "config", "Configuration files", "insightctl config check bus.toml");
  config->require_subcommand(1);
  CLI::App* check = add_command(*config, "check",
                                "Says everything that is wrong with a file, with line and column",
                                "insightctl config check bus.toml");
  check->add_option("file", options.config_file, "TOML file")->type_name("FILE")->required();
  CLI::App* show_version = add_command(app, "version", "What this is", "insightctl version");
  show_version->add_flag("--json", options.version_json, "JSON instead of text");

  if (argc == 1) {
    (void)std::fputs(app.help().c_str(), stderr);
    return kWrongUse;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return answer(app, error);
  }
  options.bus_run.log_format = options.log_format == "json" ? LogFormat::json : LogFormat::text;
  const Plugins plugins = sink_plugins();
  if (bus->parsed()) return bus_run(options.bus_run, plugins);
  Terminal out = Terminal::standard_output();
  int code = kDone;
  if (show_status->parsed()) code = status(options.ask, out);
  if (show_publishers->parsed()) code = publishers(options.publishers, out);
  if (check->parsed()) code = config_check(options.config_file, plugins, out);
  if (show_version->parsed()) code = version(options.version_json, out);
  if (!out.flush()) {
    complain(std::string("standard output: ") + std::strerror(errno));
    return kProblem;
  }
  return code;
}

}  // namespace

}  // namespace insight::cli

int main(int argc, char** argv) {
  insight::cli::open_standard_descriptors();
  (void)std::signal(SIGPIPE, SIG_IGN);
  try {
    return insight::cli::run(argc, argv);
  } catch (const std::exception& e) {
    insight::cli::complain(e.what());
    return insight::cli::kProblem;
  }
}
