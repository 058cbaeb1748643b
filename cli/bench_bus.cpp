// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_bus.hpp"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus/base/clock.hpp"
#include "bus/base/unique_fd.hpp"

namespace insight::cli {

namespace {

using namespace std::chrono_literals;

constexpr uint64_t kStartTimeout = 30 * kSecond;
constexpr uint64_t kStopTimeout = 10 * kSecond;
constexpr std::string_view kIsReady = "  next: insightctl status";
constexpr std::string_view kBeforeHttp = "curl http://";

std::string config_in(const std::string& directory) {
  return "[broker]\nname = \"bench\"\nstate_dir = \"" + directory +
         "/state\"\n\n[http]\nlisten = \"127.0.0.1:0\"\n\n[collectors.bus]\nendpoints = [\"ipc://" +
         directory + "/bus.ipc\"]\n\n[sinks.null]\n";
}

[[noreturn]] void become_broker(const std::string& directory, int log) {
  // Ctrl+C goes to all processes of the terminal; this one is stopped by its parent.
  (void)setpgid(0, 0);
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
  (void)dup2(log, STDOUT_FILENO);
  (void)dup2(log, STDERR_FILENO);
  const std::string config = directory + "/bus.toml";
  (void)execl("/proc/self/exe", "insightctl", "bus", "run", "--config", config.c_str(), nullptr);
  _exit(127);
}

}  // namespace

Result<bool> OwnBus::start(const StopSignals& signals) {
  std::error_code error;
  std::string directory =
      std::filesystem::temp_directory_path(error).string() + "/insight-bench-XXXXXX";
  if (error || mkdtemp(directory.data()) == nullptr) {
    return Error{"no temporary directory for a bus: " +
                 (error ? error.message() : std::string(std::strerror(errno)))};
  }
  directory_ = std::move(directory);
  std::ofstream(directory_ + "/bus.toml") << config_in(directory_);
  const UniqueFd log(open((directory_ + "/log").c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC,
                          S_IRUSR | S_IWUSR));
  if (!log) return Error{"no bus can be started: " + directory_ + ": " + std::strerror(errno)};
  pid_ = fork();
  if (pid_ == 0) become_broker(directory_, log.get());
  if (pid_ < 0) {
    pid_ = 0;
    return Error{std::string("no bus can be started: ") + std::strerror(errno)};
  }
  const uint64_t deadline_ns = mono_now_ns() + kStartTimeout;
  std::string text = this->log();
  while (text.find(kIsReady) == std::string::npos) {
    if (has_ended()) return Error{"the bus of its own did not start: " + this->log()};
    if (mono_now_ns() > deadline_ns) return Error{"the bus of its own did not start in time"};
    if (signals.wait_for(10ms)) return false;
    text = this->log();
  }
  const size_t at = text.find(kBeforeHttp) + kBeforeHttp.size();
  http_ = text.substr(at, text.find('/', at) - at);
  endpoint_ = "ipc://" + directory_ + "/bus.ipc";
  return true;
}

OwnBus::~OwnBus() {
  if (pid_ != 0) {
    (void)kill(pid_, SIGKILL);
    (void)waitpid(pid_, nullptr, 0);
  }
  std::error_code ignored;
  if (!directory_.empty()) std::filesystem::remove_all(directory_, ignored);
}

bool OwnBus::stop(const StopSignals& signals) {
  if (pid_ != 0) (void)kill(pid_, SIGTERM);
  const uint64_t deadline_ns = mono_now_ns() + kStopTimeout;
  while (!has_ended() && mono_now_ns() < deadline_ns) {
    if (signals.wait_for(5ms)) return false;
  }
  return true;
}

bool OwnBus::has_ended() {
  if (pid_ != 0 && waitpid(pid_, nullptr, WNOHANG) == pid_) pid_ = 0;
  return pid_ == 0;
}

std::string OwnBus::log() const {
  std::ostringstream text;
  text << std::ifstream(directory_ + "/log").rdbuf();
  return text.str();
}

}  // namespace insight::cli
