// SPDX-License-Identifier: Apache-2.0
#include "bus/transport/pull_socket.hpp"

#include <array>
#include <stdexcept>
#include <string>

#include "bus/transport/context_impl.hpp"
#include "bus/transport/monitor.hpp"

namespace insight::transport {

namespace {

constexpr int kEvents = ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_ACCEPT_FAILED | ZMQ_EVENT_DISCONNECTED |
                        ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                        ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;

}  // namespace

struct PullSocket::Impl {
  Impl(zmq::context_t& context, const PullOptions& options)
      : socket(context, zmq::socket_type::pull), monitor(context, socket, kEvents) {
    socket.set(zmq::sockopt::rcvhwm, options.receive_high_water);
    socket.set(zmq::sockopt::maxmsgsize, options.max_message_bytes);
    socket.set(zmq::sockopt::backlog, options.backlog);
    socket.set(zmq::sockopt::ipv6, 1);
    socket.set(zmq::sockopt::linger, 0);
    socket.set(zmq::sockopt::handshake_ivl, 5'000);
    socket.set(zmq::sockopt::tcp_keepalive, 1);
    // Only against half-open connections: short heartbeats turn a pause of the peer into loss.
    socket.set(zmq::sockopt::heartbeat_ivl, 10'000);
    socket.set(zmq::sockopt::heartbeat_timeout, 60'000);
  }

  void drain_monitor() {
    while (auto event = monitor.next()) {
      switch (event->what) {
        case ZMQ_EVENT_ACCEPTED:
          ++stats.accepted;
          break;
        case ZMQ_EVENT_ACCEPT_FAILED:
          ++stats.accept_failed;
          break;
        case ZMQ_EVENT_DISCONNECTED:
          ++stats.closed;
          break;
        case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
        case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
          ++stats.handshake_failed;
          break;
        default:
          break;
      }
    }
  }

  zmq::socket_t socket;
  Monitor monitor;
  zmq::message_t message;
  PullStats stats;
};

PullSocket::PullSocket(Context& context, const PullOptions& options) {
  try {
    impl_ = std::make_unique<Impl>(context.impl().context, options);
  } catch (const zmq::error_t& error) {
    throw std::runtime_error(std::string("no PULL socket: ") + error.what());
  }
}

PullSocket::~PullSocket() = default;

Result<Endpoint> PullSocket::bind(const Endpoint& endpoint) {
  try {
    impl_->socket.bind(endpoint.text());
    if (endpoint.kind == Endpoint::Kind::ipc || endpoint.port != 0) return endpoint;
    const std::string bound = impl_->socket.get(zmq::sockopt::last_endpoint);
    Endpoint chosen = endpoint;
    chosen.port = static_cast<uint16_t>(std::stoi(bound.substr(bound.rfind(':') + 1)));
    return chosen;
  } catch (const zmq::error_t& error) {
    return Error{error.what()};
  }
}

bool PullSocket::wait(std::chrono::milliseconds timeout, int wake_fd) {
  std::array<zmq_pollitem_t, 3> items{{
      {impl_->socket.handle(), 0, ZMQ_POLLIN, 0},
      {impl_->monitor.handle(), 0, ZMQ_POLLIN, 0},
      {nullptr, wake_fd, ZMQ_POLLIN, 0},
  }};
  const int count = wake_fd >= 0 ? 3 : 2;
  // An interrupted call counts as a wait that brought nothing: the caller's loop comes again.
  if (zmq_poll(items.data(), count, static_cast<long>(timeout.count())) <= 0) return false;
  if (items[1].revents != 0) impl_->drain_monitor();
  return items[0].revents != 0;
}

std::optional<Frame> PullSocket::receive() {
  if (zmq_msg_recv(impl_->message.handle(), impl_->socket.handle(), ZMQ_DONTWAIT) < 0) {
    return std::nullopt;
  }
  return Frame{.bytes = impl_->message.to_string_view(), .more = impl_->message.more()};
}

PullStats PullSocket::stats() const noexcept { return impl_->stats; }

}  // namespace insight::transport
