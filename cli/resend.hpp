// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <string_view>

#include "bus/base/endpoint.hpp"
#include "bus/base/unique_fd.hpp"
#include "bus/transport/context.hpp"
#include "bus/transport/push_socket.hpp"

namespace insight::cli {

/// Sends messages to a broker without losing one: waits while the broker has no room, and, for a
/// time, while there is none.  Thread-bound.
class Resender {
 public:
  enum class Outcome : uint8_t { sent, no_broker, stopped, not_taken };

  /// `on_wait` is called from time to time while it waits, `tell` with what a person should know.
  /// SIGINT and SIGTERM end every wait from now on.  Throws std::runtime_error when there is no
  /// socket to be had.
  Resender(Endpoint endpoint, std::chrono::nanoseconds patience, std::function<void()> on_wait,
           std::function<void(const std::string&)> tell);
  /// Drops what has not left yet; see finish().
  ~Resender() = default;
  Resender(const Resender&) = delete;
  Resender& operator=(const Resender&) = delete;

  /// Before the first message: a broker must be there.
  Outcome connect();
  Outcome send(std::string_view message);
  /// Waits for a moment to come on the monotonic clock; also notices when the broker goes.
  Outcome wait_until(uint64_t mono_ns);

  /// After the last message: waits, at most as long as its patience, until the broker has all.
  /// Stopped by a signal it can be called again.
  Outcome finish();

  /// How often the broker went away, and was waited for.
  uint64_t interruptions() const noexcept { return interruptions_; }

  /// True when a signal has come; forgets it, so that a second one can be told.
  bool take_signal() noexcept;

  const Endpoint& endpoint() const noexcept { return endpoint_; }

 private:
  Outcome wait(std::chrono::milliseconds timeout, bool for_room);

  const Endpoint endpoint_;
  const std::chrono::nanoseconds patience_;
  const std::function<void()> on_wait_;
  const std::function<void(const std::string&)> tell_;
  UniqueFd signals_;
  std::unique_ptr<transport::Context> context_;
  std::unique_ptr<transport::PushSocket> socket_;
  uint64_t connects_ = 0;       // of the socket, when the broker was last there
  uint64_t away_since_ns_ = 0;  // 0: the broker is there
  uint64_t interruptions_ = 0;
  UniqueFd connection_;     // of a socket that is closed
  std::future<void> left_;  // all that the socket had taken
  uint64_t finish_until_ns_ = 0;
};

}  // namespace insight::cli
