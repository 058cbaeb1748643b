// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>

#include <fcntl.h>
#include <unistd.h>

#include "cli/commands.hpp"
#include "cli/exit_code.hpp"
#include "cli/man_text.hpp"

namespace insight::cli {

Command insightctl_command() {
  const auto wants_version = std::make_shared<bool>(false);
  return {.name = "insightctl",
          .does =
              "The telemetry bus: publishers send to it, Prometheus and files read from it.\n\n"
              "Exit codes: " +
              exit_codes_sentence() + ".",
          .examples = {"insightctl bus run", "insightctl status"},
          .arguments = {{.name = "--version",
                         .does = "says what this is",
                         .target = wants_version.get()}},
          .commands =
              {
                  bus_command(),
                  status_command(),
                  publishers_command(),
                  metrics_command(),
                  tap_command(),
                  emit_command(),
                  run_command(),
                  bench_command(),
                  replay_command(),
                  config_command(),
                  components_command(),
                  completion_command(),
                  man_command(),
                  version_command(),
              },
          .run = [wants_version](Terminal& out) {
            if (*wants_version) return version_command().run(out);
            complain("a command must follow; see insightctl --help");
            return static_cast<int>(kWrongUse);
          }};
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

int run(int argc, char** argv) {
  Terminal out = Terminal::standard_output();
  const int code = run_command_line(insightctl_command(), argc, argv, out);
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
