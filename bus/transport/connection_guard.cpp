// SPDX-License-Identifier: Apache-2.0
#include "bus/transport/connection_guard.hpp"

#include <linux/tcp.h>  // glibc's tcp_info ends before the bytes
#include <netinet/in.h>
#include <sys/socket.h>

namespace insight::transport {

namespace {

// So much without a message calls for a closer look.
constexpr uint64_t kNoticeableBytes = 1 << 20;

/// Bytes received so far; false for what is no tcp connection (any more).
bool received_bytes(int fd, uint64_t& bytes) noexcept {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return false;
  bytes = info.tcpi_bytes_received;
  return true;
}

}  // namespace

void ConnectionGuard::accepted(int fd) {
  if (fd < 0) return;
  const auto index = static_cast<size_t>(fd);
  if (index >= connections_.size()) connections_.resize(index + 1);
  connections_[index] = {.is_open = true};
}

void ConnectionGuard::closed(int fd) noexcept {
  const auto index = static_cast<size_t>(fd);
  if (fd >= 0 && index < connections_.size()) connections_[index] = {};
}

void ConnectionGuard::completed(int fd) noexcept {
  const auto index = static_cast<size_t>(fd);
  if (fd >= 0 && index < connections_.size()) connections_[index].has_completed = true;
}

size_t ConnectionGuard::check(bool is_empty) noexcept {
  size_t cut = 0;
  is_watchful_ = false;
  for (size_t fd = 0; fd < connections_.size(); ++fd) {
    Connection& connection = connections_[fd];
    if (!connection.is_open) continue;
    uint64_t bytes = 0;
    if (!received_bytes(static_cast<int>(fd), bytes)) {
      connection = {};
      continue;
    }
    if (connection.has_completed || bytes < connection.base_bytes) {
      connection.has_completed = false;
      connection.is_suspicious = false;
      connection.base_bytes = bytes;
      continue;
    }
    const uint64_t pending = bytes - connection.base_bytes;
    is_watchful_ = is_watchful_ || pending > kNoticeableBytes;
    const bool was_suspicious = connection.is_suspicious;
    if (is_empty) connection.is_suspicious = pending > kSuspiciousBytes;
    if ((is_empty && was_suspicious && connection.is_suspicious) || pending > kImpossibleBytes) {
      // Not close(): the descriptor is libzmq's, which sees the end of the connection and closes
      // it.
      shutdown(static_cast<int>(fd), SHUT_RDWR);
      connection = {};
      ++cut;
    }
  }
  return cut;
}

}  // namespace insight::transport
