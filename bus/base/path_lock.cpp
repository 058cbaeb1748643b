// SPDX-License-Identifier: Apache-2.0
#include "bus/base/path_lock.hpp"

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace insight {

namespace {

// Locks of the open file description: two holders in one process exclude each other too, and
// closing some other descriptor of the file does not drop the lock.
bool try_lock(int fd, int command) noexcept {
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return fcntl(fd, command, &lock) == 0 && (command == F_OFD_SETLK || lock.l_type != F_UNLCK);
}

std::string read_pid(int fd) {
  std::array<char, 32> text{};
  const ssize_t got = pread(fd, text.data(), text.size() - 1, 0);
  std::string pid(text.data(), got > 0 ? static_cast<size_t>(got) : 0);
  while (!pid.empty() && (pid.back() < '0' || pid.back() > '9')) pid.pop_back();
  return pid;
}

std::string process_name(const std::string& pid) {
  std::string name;
  std::ifstream in("/proc/" + pid + "/comm");
  std::getline(in, name);
  return name;
}

std::string describe(const std::string& pid) {
  if (pid.empty()) return "another process";
  const std::string name = process_name(pid);
  return "pid " + pid + (name.empty() ? "" : " (" + name + ")");
}

/// Inode of a listening tcp socket on this port, from the kernel's tables; empty when there is
/// none.
std::string listening_inode(uint16_t port) {
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream in(table);
    std::string line;
    std::getline(in, line);
    while (std::getline(in, line)) {
      std::istringstream fields(line);
      std::string slot, local, remote, state, queues, timer, retransmits, uid, timeout, inode;
      fields >> slot >> local >> remote >> state >> queues >> timer >> retransmits >> uid >>
          timeout >> inode;
      const size_t colon = local.rfind(':');
      if (state != "0A" || colon == std::string::npos) continue;
      unsigned number = 0;
      std::from_chars(local.data() + colon + 1, local.data() + local.size(), number, 16);
      if (number == port) return inode;
    }
  }
  return {};
}

using Directory = std::unique_ptr<DIR, int (*)(DIR*)>;

Directory open_directory(const std::string& path) { return {opendir(path.c_str()), closedir}; }

bool has_socket(const std::string& pid, const std::string& inode) {
  const std::string base = "/proc/" + pid + "/fd";
  const Directory directory = open_directory(base);
  if (!directory) return false;
  const std::string wanted = "socket:[" + inode + "]";
  while (const dirent* entry = readdir(directory.get())) {
    std::array<char, 64> target{};
    const ssize_t got =
        readlink((base + "/" + entry->d_name).c_str(), target.data(), target.size());
    if (got > 0 && std::string_view(target.data(), static_cast<size_t>(got)) == wanted) return true;
  }
  return false;
}

}  // namespace

Result<PathLock> PathLock::take(const std::string& path) {
  const std::string file = path + ".lock";
  UniqueFd fd(open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return Error{file + ": " + std::strerror(errno)};
  if (!try_lock(fd.get(), F_OFD_SETLK)) {
    return Error{path + " is in use by " + describe(read_pid(fd.get()))};
  }
  const std::string pid = std::to_string(getpid()) + "\n";
  // The pid only serves to name the holder; the lock holds without it, also on a full disk.
  if (ftruncate(fd.get(), 0) == 0 && pwrite(fd.get(), pid.data(), pid.size(), 0) < 0) errno = 0;
  return PathLock(std::move(fd));
}

bool is_locked(const std::string& path) {
  const UniqueFd fd(open((path + ".lock").c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  return fd && try_lock(fd.get(), F_OFD_GETLK);
}

std::string tcp_port_holder(uint16_t port) {
  const std::string inode = listening_inode(port);
  if (inode.empty()) return {};
  const Directory processes = open_directory("/proc");
  if (!processes) return {};
  while (const dirent* entry = readdir(processes.get())) {
    const std::string pid = entry->d_name;
    if (pid.find_first_not_of("0123456789") == std::string::npos && has_socket(pid, inode))
      return describe(pid);
  }
  return {};
}

}  // namespace insight
