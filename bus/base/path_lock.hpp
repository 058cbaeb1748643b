// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "bus/base/result.hpp"
#include "bus/base/unique_fd.hpp"

namespace insight {

/// Holds `<path>.lock`.  A second bind on an ipc path succeeds silently and steals it from the
/// first broker (libzmq unlinks the socket), so whoever binds takes this lock before.  The kernel
/// releases it with the process, however that ends.
class PathLock {
 public:
  /// Takes the lock and writes the own pid into it; fails naming the pid of the holder.
  static Result<PathLock> take(const std::string& path);

 private:
  explicit PathLock(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
};

/// True when a live process holds the lock of `path`.
bool is_locked(const std::string& path);

/// "pid 123 (insightctl)" of who listens on this tcp port of the machine, empty where the system
/// does not tell.
std::string tcp_port_holder(uint16_t port);

}  // namespace insight
