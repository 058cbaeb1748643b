// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>

#include <fcntl.h>
#include <unistd.h>

#include "cli/commands.hpp"
#include "cli/exit_code.hpp"

namespace insight::cli {

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

Command insightctl() {
  return {.name = "insightctl",
          .does =
              "The telemetry bus: publishers send to it, Prometheus and files read from it.\n\n"
              "Exit codes: 0 done, 1 found a problem, 2 wrong use or configuration, 3 no broker "
              "answers,\n130 a second signal cut a stop short.",
          .examples = {"insightctl bus run", "insightctl status"},
          .commands = {bus_command(), status_command(), publishers_command(), tap_command(),
                       bench_command(), replay_command(), config_command(), version_command()}};
}

int run(int argc, char** argv) {
  Terminal out = Terminal::standard_output();
  const int code = run_command_line(insightctl(), argc, argv, out);
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
