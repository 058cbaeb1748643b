// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus/base/clock.hpp"
#include "bus/base/text.hpp"
#include "bus/base/unique_fd.hpp"
#include "cli/commands.hpp"
#include "cli/exit_code.hpp"
#include "cli/process_usage.hpp"
#include "cli/publish.hpp"

namespace insight::cli {

namespace {

using namespace std::chrono_literals;

constexpr int kCannotExecute = 126;
constexpr int kNotFound = 127;
constexpr int kSignalled = 128;  // and the number of the signal
constexpr auto kCloseWithin = 1s;
constexpr std::array<double, 8> kDurations{1, 10, 60, 600, 3'600, 21'600, 86'400, 604'800};

struct RunOptions {
  PublishOptions publish;
  std::vector<std::string> command;
};

/// The signals that a command may be sent, and the end of it, taken one by one.  Made before there
/// are threads.
class RunSignals {
 public:
  RunSignals() {
    sigemptyset(&set_);
    for (const int number :
         {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH}) {
      sigaddset(&set_, number);
    }
    pthread_sigmask(SIG_BLOCK, &set_, &before_);
    // Who ignores it has no children to wait for.
    struct sigaction as_usual{};
    as_usual.sa_handler = SIG_DFL;
    sigaction(SIGCHLD, &as_usual, &child_before_);
  }

  /// In the child: as if insightctl had not been there.
  void restore() const {
    sigaction(SIGCHLD, &child_before_, nullptr);
    (void)std::signal(SIGPIPE, SIG_DFL);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

  /// The signal, 0 when none came in time.
  int wait_for(uint64_t ns, siginfo_t& info) const {
    const timespec timeout{static_cast<time_t>(ns / kSecond), static_cast<long>(ns % kSecond)};
    return std::max(0, sigtimedwait(&set_, &info, &timeout));
  }

 private:
  sigset_t set_{};
  sigset_t before_{};
  struct sigaction child_before_{};
};

/// How a command ended.
struct Ending {
  int exit_code = 0;
  std::string code;  ///< "0" to "255", or the name of a signal
  rusage usage{};
};

void set(const char* variable, const std::string& value) {
  if (!value.empty()) setenv(variable, value.c_str(), 1);
}

std::string signal_name(int number) {
  const char* name = sigabbrev_np(number);
  return name != nullptr ? std::string("SIG") + name : "signal " + std::to_string(number);
}

Ending ending_of(int status, const rusage& usage) {
  if (WIFSIGNALED(status)) {
    return {kSignalled + WTERMSIG(status), signal_name(WTERMSIG(status)), usage};
  }
  return {WEXITSTATUS(status), std::to_string(WEXITSTATUS(status)), usage};
}

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

/// What is published about a command.
class Life {
 public:
  explicit Life(const std::string& program)
      : publisher_({.service = "insightctl run"}),
        command_(to_utf8(program.substr(program.rfind('/') + 1))),
        running_(
            publisher_.gauge("insight_run_running", "Commands that run.", labels(), Merge::sum)),
        resident_(publisher_.gauge("insight_run_resident_bytes",
                                   "Memory of the commands that run, and of what they started.",
                                   labels(), Merge::sum)),
        most_resident_(publisher_.gauge("insight_run_max_resident_bytes",
                                        "The most memory that a command took at once.", labels(),
                                        Merge::max)) {
    const Counter cpu =
        publisher_.counter("insight_run_cpu_seconds_total",
                           "Processor time of commands and of what they started.", labels());
    user_ = cpu.with({{"mode", "user"}});
    system_ = cpu.with({{"mode", "system"}});
  }

  void begin() {
    publisher_.counter("insight_run_starts_total", "Commands that were started.", labels()).add();
    running_.set(1);
  }

  void sample(pid_t pid) {
    const ProcessUsage now = usage_of_tree(pid);
    take(now.user_seconds, now.system_seconds, now.resident_bytes);
    resident_.set(static_cast<double>(now.resident_bytes));
  }

  void end(const Ending& ending, double duration_seconds) {
    take(seconds(ending.usage.ru_utime), seconds(ending.usage.ru_stime),
         static_cast<uint64_t>(ending.usage.ru_maxrss) * 1024);
    resident_.set(0);
    running_.set(0);
    publisher_
        .histogram("insight_run_duration_seconds", kDurations, "How long commands ran.", labels())
        .observe(duration_seconds);
    fail_to_start(ending);
  }

  /// The exit alone.
  void fail_to_start(const Ending& ending) {
    publisher_
        .counter("insight_run_exits_total", "Commands that ended, by exit code or signal.",
                 {{"command", command_}, {"code", ending.code}})
        .add();
    publisher_.close(kCloseWithin);
  }

 private:
  Labels labels() const { return {{"command", command_}}; }

  // Counters only grow, while a process that nobody waits for takes its time with it.
  void take(double user, double system, uint64_t resident_bytes) {
    user_.add(std::max(0.0, user - user_seconds_));
    system_.add(std::max(0.0, system - system_seconds_));
    user_seconds_ = std::max(user, user_seconds_);
    system_seconds_ = std::max(system, system_seconds_);
    most_resident_bytes_ = std::max(resident_bytes, most_resident_bytes_);
    most_resident_.set(static_cast<double>(most_resident_bytes_));
  }

  Publisher publisher_;
  const std::string command_;
  Gauge running_, resident_, most_resident_;
  Counter user_, system_;
  double user_seconds_ = 0;
  double system_seconds_ = 0;
  uint64_t most_resident_bytes_ = 0;
};

/// Starts the command; the error number when it cannot be executed.
int start(const std::vector<std::string>& command, const RunSignals& signals, pid_t& pid) {
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return errno;
  UniqueFd read_end(ends[0]), write_end(ends[1]);
  pid = fork();
  if (pid < 0) return errno;
  if (pid == 0) {
    signals.restore();
    execvp(argv[0], argv.data());
    const int error = errno;
    // Closed by a successful exec, so whatever comes is the error.
    [[maybe_unused]] const ssize_t written = write(write_end.get(), &error, sizeof error);
    _exit(kNotFound);
  }
  write_end.reset();
  int error = 0;
  ssize_t n = 0;
  do {
    n = read(read_end.get(), &error, sizeof error);
  } while (n < 0 && errno == EINTR);
  if (n == 0) return 0;
  waitpid(pid, nullptr, 0);
  return error;
}

Ending wait_for_end(pid_t pid, const RunSignals& signals, Life& life) {
  uint64_t next_sample = mono_now_ns();
  for (;;) {
    const uint64_t now = mono_now_ns();
    if (now >= next_sample) {
      life.sample(pid);
      next_sample = now + kSecond;
    }
    siginfo_t info{};
    const int number = signals.wait_for(next_sample > now ? next_sample - now : 0, info);
    if (number == SIGCHLD) {
      int status = 0;
      rusage usage{};
      // Also those that were left to us, as the first process of a container.
      for (pid_t ended = 0; (ended = wait4(-1, &status, WNOHANG, &usage)) > 0;) {
        if (ended == pid) return ending_of(status, usage);
      }
    } else if (number != 0 && info.si_code != SI_KERNEL && info.si_pid != pid) {
      // What the terminal sends reaches the command without us: it is in the same process group.
      kill(pid, number);
    }
  }
}

int run(const RunOptions& options) {
  if (!is_endpoint_right(options.publish)) return kWrongUse;
  // The command and our own publisher find it there.
  set("INSIGHT_ENDPOINT", options.publish.endpoint);
  set("INSIGHT_RUN", options.publish.run);
  set("INSIGHT_ROLE", options.publish.role);
  set("INSIGHT_RANK", options.publish.rank);
  const RunSignals signals;
  const uint64_t start_ns = mono_now_ns();
  pid_t pid = 0;
  // Before the publisher: a child of a process with threads may do hardly anything.
  const int error = start(options.command, signals, pid);
  Life life(options.command.front());
  if (error != 0) {
    complain("run: " + options.command.front() + ": " + std::strerror(error));
    const int code = error == ENOENT ? kNotFound : kCannotExecute;
    life.fail_to_start({code, std::to_string(code), {}});
    return code;
  }
  life.begin();
  const Ending ending = wait_for_end(pid, signals, life);
  life.end(ending, static_cast<double>(mono_now_ns() - start_ns) * 1e-9);
  return ending.exit_code;
}

}  // namespace

Command run_command() {
  const auto options = std::make_shared<RunOptions>();
  return {.name = "run",
          .does =
              "Runs a command and publishes its life: starts, exits by code or signal, duration, "
              "processor time, memory. Its publishers find endpoint, run, role and rank in the "
              "environment. Ends with its exit code (128 and the number for a signal, 127 when it "
              "is not found, 126 when it cannot be executed), broker or not",
          .examples = {"insightctl run -- sleep 1",
                       "insightctl run --run nightly --role backup -- sh -c 'echo done'"},
          .arguments = publish_arguments(options->publish,
                                         {{.name = "command",
                                           .value = "CMD",
                                           .does = "what to run, with its arguments; after --",
                                           .target = &options->command,
                                           .is_required = true}}),
          .run = [options](Terminal&) { return run(*options); }};
}

}  // namespace insight::cli
