// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace insight::transport {

/// Cuts tcp connections that send and send and never complete a message.  libzmq keeps all frames
/// of an unfinished message, whatever the high-water mark and the limit of one frame: a peer could
/// fill the memory.  Thread-bound to its socket's thread.
class ConnectionGuard {
 public:
  /// Suspicious from here on: more than any message may have.
  static constexpr uint64_t kSuspiciousBytes = 8 << 20;
  /// More than what can wait in libzmq and the kernel as whole messages while nobody reads.
  static constexpr uint64_t kImpossibleBytes = 64 << 20;

  void accepted(int fd);
  void closed(int fd) noexcept;
  /// A whole message of this connection was read.
  void completed(int fd) noexcept;

  /// Looks at every connection; `is_empty` when no whole message waits to be read.  Who is
  /// suspicious at two such moments in a row, with no message read between them, is cut.  Returns
  /// how many were.
  size_t check(bool is_empty) noexcept;

  /// True when check() should come again soon.
  bool is_watchful() const noexcept { return is_watchful_; }

 private:
  struct Connection {
    bool is_open = false;
    bool has_completed = false;  ///< since the last check
    bool is_suspicious = false;
    uint64_t base_bytes = 0;  ///< received when the last message was seen
  };

  std::vector<Connection> connections_;  // by file descriptor
  bool is_watchful_ = false;
};

}  // namespace insight::transport
