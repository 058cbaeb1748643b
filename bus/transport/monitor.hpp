// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include <zmq.hpp>

namespace insight::transport {

/// What happens to the connections of one socket.  Thread-bound to the socket's thread, which must
/// drain it in its own poll loop: libzmq's I/O thread blocks when nobody reads.  Closed before its
/// socket.
class Monitor {
 public:
  struct Event {
    int what = 0;   ///< ZMQ_EVENT_...
    int value = 0;  ///< file descriptor or error, as zmq_socket_monitor(3) says
  };

  /// `events`: a mask of ZMQ_EVENT_...  Throws zmq::error_t.  Call before bind and connect.
  Monitor(zmq::context_t& context, zmq::socket_t& watched, int events);
  ~Monitor();
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;

  /// The next event that waits, if any.  Never blocks.
  std::optional<Event> next();

  /// For a poll.
  void* handle() noexcept { return reader_.handle(); }

 private:
  zmq::socket_t& watched_;
  zmq::socket_t reader_;
};

}  // namespace insight::transport
