// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <map>

#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <unistd.h>

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
  AskOptions ask;
  PublishersOptions publishers;
  std::string config_file;
  bool version_json = false;
};

void add_ask_options(CLI::App& command, AskOptions& ask) {
  command
      .add_option("--http", ask.http,
                  "where the broker answers (else INSIGHT_HTTP, 127.0.0.1:9092)")
      ->type_name("HOST:PORT");
  command.add_flag("--json", ask.json, "JSON instead of text");
}

CLI::App* add_bus_run(CLI::App& app, BusRunOptions& options) {
  CLI::App* bus = app.add_subcommand("bus", "insightctl bus run\n\nThe broker.");
  bus->require_subcommand(1);
  CLI::App* run = bus->add_subcommand(
      "run",
      "insightctl bus run --config bus.toml\n\n"
      "Runs the broker in the foreground until SIGTERM or Ctrl+C.  Without a file it listens on\n"
      "loopback and ipc, serves /metrics and writes a file.");
  run->add_option("--config", options.config, "TOML file (else INSIGHT_CONFIG, a default)")
      ->type_name("FILE");
  run->add_option("--listen", options.overrides.listen, "where publishers connect to")
      ->type_name("ENDPOINT");
  run->add_option("--http", options.overrides.http, "where HTTP is served")->type_name("HOST:PORT");
  run->add_option("--log-format", options.log_format, "text or json")
      ->type_name("FORMAT")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, LogFormat>{{"text", LogFormat::text}, {"json", LogFormat::json}}));
  return run;
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app(
      "insightctl bus run      start a broker\ninsightctl status       see how it is\n\n"
      "The telemetry bus: publishers send to it, Prometheus and files read from it.\n"
      "Exit codes: 0 done, 1 found a problem, 2 wrong use or configuration, 3 no broker answers,\n"
      "130 a second signal cut a stop short.",
      "insightctl");
  app.require_subcommand(1);
  const CLI::App* bus = add_bus_run(app, options.bus_run);
  CLI::App* show_status =
      app.add_subcommand("status",
                         "insightctl status\n\nOne screen: collectors, sinks, publishers, "
                         "limits.  0 healthy, 1 degraded, 3 no broker.");
  add_ask_options(*show_status, options.ask);
  CLI::App* show_publishers =
      app.add_subcommand("publishers", "insightctl publishers --state alive\n\nWho sends.");
  add_ask_options(*show_publishers, options.publishers.ask);
  show_publishers->add_option("--state", options.publishers.state, "only those in this state")
      ->check(CLI::IsMember({"alive", "late", "lost", "ended"}))
      ->type_name("STATE");
  show_publishers->add_option("--limit", options.publishers.limit, "at most so many (100)")
      ->type_name("N");
  CLI::App* config =
      app.add_subcommand("config", "insightctl config check bus.toml\n\nConfiguration files.");
  config->require_subcommand(1);
  CLI::App* check = config->add_subcommand(
      "check",
      "insightctl config check bus.toml\n\nSays everything that is wrong with a file, with "
      "line and column.");
  check->add_option("file", options.config_file, "TOML file")->type_name("FILE")->required();
  CLI::App* show_version = app.add_subcommand("version", "insightctl version\n\nWhat this is.");
  show_version->add_flag("--json", options.version_json, "JSON instead of text");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // Help goes to standard output and is no error; everything else is wrong use.
    const int code = app.exit(error);
    return code == 0 ? kDone : kWrongUse;
  }
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
