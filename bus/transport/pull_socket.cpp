// SPDX-License-Identifier: Apache-2.0
#include "bus/transport/pull_socket.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>

#include "bus/base/clock.hpp"
#include "bus/transport/connection_guard.hpp"
#include "bus/transport/context_impl.hpp"
#include "bus/transport/monitor.hpp"

namespace insight::transport {

namespace {

constexpr int kEvents = ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_ACCEPT_FAILED | ZMQ_EVENT_DISCONNECTED |
                        ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                        ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;

constexpr uint64_t kCheckNs = 250 * kMillisecond;
constexpr uint64_t kWatchfulCheckNs = 10 * kMillisecond;
constexpr std::chrono::milliseconds kWatchfulWait{10};

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
          guard.accepted(event->value);
          break;
        case ZMQ_EVENT_ACCEPT_FAILED:
          ++stats.accept_failed;
          break;
        case ZMQ_EVENT_DISCONNECTED:
          ++stats.closed;
          guard.closed(event->value);
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

  void check_connections(bool is_empty) {
    const uint64_t now_ns = mono_now_ns();
    if (now_ns < next_check_ns) return;
    stats.cut += guard.check(is_empty);
    // At most a twentieth of the time, however many connections there are.
    const uint64_t end_ns = mono_now_ns();
    const uint64_t pause_ns = guard.is_watchful() ? kWatchfulCheckNs : kCheckNs;
    next_check_ns = end_ns + std::max(pause_ns, 20 * (end_ns - now_ns));
  }

  zmq::socket_t socket;
  Monitor monitor;
  zmq::message_t message;
  ConnectionGuard guard;
  uint64_t next_check_ns = 0;
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
  if (impl_->guard.is_watchful()) timeout = std::min(timeout, kWatchfulWait);
  // An interrupted call counts as a wait that brought nothing: the caller's loop comes again.
  const int ready = zmq_poll(items.data(), count, static_cast<long>(timeout.count()));
  if (ready < 0) return false;
  if (items[1].revents != 0) impl_->drain_monitor();
  impl_->check_connections(items[0].revents == 0);
  return items[0].revents != 0;
}

std::optional<Frame> PullSocket::receive() {
  if (zmq_msg_recv(impl_->message.handle(), impl_->socket.handle(), ZMQ_DONTWAIT) < 0) {
    return std::nullopt;
  }
  const bool is_last = !impl_->message.more();
  if (is_last) impl_->guard.completed(zmq_msg_get(impl_->message.handle(), ZMQ_SRCFD));
  return Frame{.bytes = impl_->message.to_string_view(), .more = !is_last};
}

PullStats PullSocket::stats() const noexcept { return impl_->stats; }

}  // namespace insight::transport
