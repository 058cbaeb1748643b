// SPDX-License-Identifier: Apache-2.0
#include "cli/process_usage.hpp"

#include <array>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

#include <unistd.h>

namespace insight::cli {

namespace {

constexpr size_t kMaxProcesses = 4'096;

void add_children(pid_t pid, std::vector<pid_t>& pids) {
  std::error_code error;
  const std::filesystem::directory_iterator threads("/proc/" + std::to_string(pid) + "/task",
                                                    error);
  if (error) return;  // it has gone
  for (auto each = threads; !error && each != std::filesystem::directory_iterator();
       each.increment(error)) {
    std::ifstream file(each->path() / "children");
    for (pid_t child = 0; file >> child && pids.size() < kMaxProcesses;) pids.push_back(child);
  }
}

/// Fields 14 to 17 and 24 of /proc/<pid>/stat: utime, stime, cutime, cstime, rss.
void add_usage(pid_t pid, ProcessUsage& usage) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  if (!std::getline(file, line)) return;
  // The name of the program stands in brackets and may hold anything, brackets too.
  const size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return;
  std::istringstream fields(line.substr(name_end + 1));
  std::array<std::string, 22> field;  // from the third on
  for (std::string& each : field) fields >> each;
  const auto number = [&field](size_t number_in_manual) {
    return std::strtod(field[number_in_manual - 3].c_str(), nullptr);
  };
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  usage.user_seconds += (number(14) + number(16)) / ticks;
  usage.system_seconds += (number(15) + number(17)) / ticks;
  usage.resident_bytes +=
      static_cast<uint64_t>(number(24)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

ProcessUsage usage_of_tree(pid_t root) {
  ProcessUsage usage;
  std::vector<pid_t> pids{root};
  for (size_t i = 0; i < pids.size(); ++i) {
    add_usage(pids[i], usage);
    add_children(pids[i], pids);
  }
  return usage;
}

}  // namespace insight::cli
