// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string_view>

#include "bus/base/endpoint.hpp"
#include "bus/base/unique_fd.hpp"
#include "bus/transport/context.hpp"

namespace insight::transport {

enum class SendResult : uint8_t {
  accepted,
  again,   ///< the queue is full; nothing was taken
  failed,  ///< the socket is of no use any more
};

/// The sending side: one PUSH socket, connected to one endpoint (a second, dead one would swallow
/// every other message).  libzmq connects again by itself.  Thread-bound.
class PushSocket {
 public:
  /// Throws std::runtime_error when libzmq makes no socket or does not understand the endpoint.
  PushSocket(Context& context, const Endpoint& endpoint);
  /// Closes; messages that were accepted may still leave for as long as set_linger() said (default:
  /// not).
  ~PushSocket();
  PushSocket(const PushSocket&) = delete;
  PushSocket& operator=(const PushSocket&) = delete;

  /// Hands a copy of `message` to libzmq.  Never blocks.
  SendResult send(std::string_view message) noexcept;

  enum class WaitFor : uint8_t { events, events_or_room };

  /// Waits until a connection comes or goes, `wake_fd` (if any) is readable, `timeout` has gone by,
  /// or (when asked for) send() would be accepted; drains the monitor.
  void wait(std::chrono::milliseconds timeout, int wake_fd = -1,
            WaitFor what = WaitFor::events) noexcept;

  /// True when send() would be accepted.
  bool has_room() noexcept;

  /// True from a handshake until the connection is lost; as of the last wait().
  bool is_connected() const noexcept;
  /// True when libzmq has given up for good (authentication, protocol): make a new socket.
  bool is_broken() const noexcept;
  /// Attempts to connect that failed since the last connection.
  uint64_t failures() const noexcept;
  /// Handshakes so far.
  uint64_t connects() const noexcept;

  void set_linger(std::chrono::milliseconds linger) noexcept;

  /// The connection itself, when it goes by ipc; see wait_until_read().
  UniqueFd duplicate_connection() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Waits until the other side has read everything that was written into `connection`, or has gone,
/// for at most `timeout`; false when there is still something to wait for.
///
/// A unix socket that is closed while its reader is behind makes libzmq on the other side forget
/// what is still in the kernel.  So the last one to speak keeps a duplicate of the connection
/// beyond its socket and context.
bool wait_until_read(const UniqueFd& connection, std::chrono::milliseconds timeout) noexcept;

}  // namespace insight::transport
