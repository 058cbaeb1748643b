// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "bus/base/endpoint.hpp"
#include "bus/base/result.hpp"
#include "bus/transport/context.hpp"

namespace insight::transport {

struct PullOptions {
  int receive_high_water = 8;           ///< messages per connection; more would deliver the past
  int64_t max_message_bytes = 4 << 20;  ///< libzmq drops a connection that sends more
  int backlog = 1024;                   ///< many publishers come back at once after a restart
};

/// One frame as it came.  Valid until the next receive().
struct Frame {
  std::string_view bytes;
  bool more = false;  ///< further frames of the same message follow
};

/// Connections of a PullSocket since it was made.  Value.
struct PullStats {
  uint64_t accepted = 0;
  uint64_t closed = 0;
  uint64_t handshake_failed = 0;
  uint64_t accept_failed = 0;  ///< out of file descriptors, as a rule
  uint64_t cut = 0;            ///< sent without end and never completed a message
};

/// The receiving side: one PULL socket bound to any number of endpoints.
///
/// Thread-bound; it may be made and bound by one thread and then used by a thread that is started
/// afterwards.
class PullSocket {
 public:
  /// Throws std::runtime_error when libzmq refuses to make a socket.
  explicit PullSocket(Context& context, const PullOptions& options = {});
  ~PullSocket();
  PullSocket(const PullSocket&) = delete;
  PullSocket& operator=(const PullSocket&) = delete;

  /// Binds one more endpoint; gives it back as bound (port 0 is replaced by the port that was
  /// chosen). Of an ipc path take the PathLock first.
  Result<Endpoint> bind(const Endpoint& endpoint);

  /// Waits until a message is there, `wake_fd` (if any) is readable, or `timeout` has gone by, and
  /// drains the monitor.  True when a message may be there.  May return earlier than asked.
  bool wait(std::chrono::milliseconds timeout, int wake_fd = -1);

  /// The next frame, if one is there.  Never blocks.
  std::optional<Frame> receive();

  PullStats stats() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace insight::transport
