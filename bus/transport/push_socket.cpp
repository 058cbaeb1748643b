// SPDX-License-Identifier: Apache-2.0
#include "bus/transport/push_socket.hpp"

#include <array>
#include <cerrno>
#include <stdexcept>
#include <string>

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "bus/transport/context_impl.hpp"
#include "bus/transport/monitor.hpp"

namespace insight::transport {

namespace {

constexpr int kEvents = ZMQ_EVENT_CONNECTED | ZMQ_EVENT_CONNECT_RETRIED | ZMQ_EVENT_DISCONNECTED |
                        ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                        ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;

}  // namespace

struct PushSocket::Impl {
  Impl(zmq::context_t& context, const Endpoint& endpoint)
      : socket(context, zmq::socket_type::push),
        monitor(context, socket, kEvents),
        is_ipc(endpoint.kind == Endpoint::Kind::ipc) {
    socket.set(zmq::sockopt::sndhwm, 8);  // a deeper queue would deliver the past after an outage
    // With IMMEDIATE a lost connection discards its queue and later messages overtake earlier ones.
    socket.set(zmq::sockopt::immediate, 0);
    socket.set(zmq::sockopt::linger, 0);
    socket.set(zmq::sockopt::ipv6, 1);
    socket.set(zmq::sockopt::reconnect_ivl, 100);
    socket.set(zmq::sockopt::reconnect_ivl_max, 1'000);
    socket.set(zmq::sockopt::connect_timeout, 3'000);
    socket.set(zmq::sockopt::handshake_ivl, 5'000);
    socket.set(zmq::sockopt::tcp_keepalive, 1);
    // Only against half-open connections: short heartbeats turn a pause of the broker into loss.
    socket.set(zmq::sockopt::heartbeat_ivl, 5'000);
    socket.set(zmq::sockopt::heartbeat_timeout, 30'000);
    socket.set(zmq::sockopt::heartbeat_ttl, 60'000);
    socket.connect(endpoint.text());
  }

  void drain_monitor() noexcept {
    while (auto event = monitor.next()) {
      switch (event->what) {
        case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
          is_connected = true;
          ++connects;
          failures = 0;
          break;
        case ZMQ_EVENT_CONNECTED:
          descriptor = event->value;
          break;
        case ZMQ_EVENT_CONNECT_RETRIED:
          ++failures;
          break;
        case ZMQ_EVENT_DISCONNECTED:
          is_connected = false;
          break;
        case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
        case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
          // libzmq ends the session without a further event and never connects again.
          is_connected = false;
          is_broken = true;
          break;
        default:
          is_connected = false;
          break;
      }
    }
  }

  zmq::socket_t socket;
  Monitor monitor;
  const bool is_ipc;
  int descriptor = -1;  // of the newest connection
  bool is_connected = false;
  bool is_broken = false;
  uint64_t failures = 0;
  uint64_t connects = 0;
};

PushSocket::PushSocket(Context& context, const Endpoint& endpoint) {
  try {
    impl_ = std::make_unique<Impl>(context.impl().context, endpoint);
  } catch (const zmq::error_t& error) {
    throw std::runtime_error("no PUSH socket for " + endpoint.text() + ": " + error.what());
  }
}

PushSocket::~PushSocket() = default;

SendResult PushSocket::send(std::string_view message) noexcept {
  for (;;) {
    if (zmq_send(impl_->socket.handle(), message.data(), message.size(), ZMQ_DONTWAIT) >= 0) {
      return SendResult::accepted;
    }
    const int error = zmq_errno();
    if (error == EINTR) continue;
    return error == EAGAIN ? SendResult::again : SendResult::failed;
  }
}

void PushSocket::wait(std::chrono::milliseconds timeout, int wake_fd, WaitFor what) noexcept {
  std::array<zmq_pollitem_t, 3> items{};
  int count = 0;
  items[count++] = {impl_->monitor.handle(), 0, ZMQ_POLLIN, 0};
  if (wake_fd >= 0) items[count++] = {nullptr, wake_fd, ZMQ_POLLIN, 0};
  if (what == WaitFor::events_or_room) items[count++] = {impl_->socket.handle(), 0, ZMQ_POLLOUT, 0};
  zmq_poll(items.data(), count, static_cast<long>(timeout.count()));
  impl_->drain_monitor();
}

bool PushSocket::has_room() noexcept {
  zmq_pollitem_t item{impl_->socket.handle(), 0, ZMQ_POLLOUT, 0};
  return zmq_poll(&item, 1, 0) > 0;
}

bool PushSocket::is_connected() const noexcept { return impl_->is_connected; }

bool PushSocket::is_broken() const noexcept { return impl_->is_broken; }

uint64_t PushSocket::failures() const noexcept { return impl_->failures; }

uint64_t PushSocket::connects() const noexcept { return impl_->connects; }

void PushSocket::set_linger(std::chrono::milliseconds linger) noexcept {
  const int value = static_cast<int>(linger.count());
  zmq_setsockopt(impl_->socket.handle(), ZMQ_LINGER, &value, sizeof value);
}

UniqueFd PushSocket::duplicate_connection() const noexcept {
  if (!impl_->is_connected || !impl_->is_ipc) return UniqueFd();
  UniqueFd copy(fcntl(impl_->descriptor, F_DUPFD_CLOEXEC, 0));
  // The number may be somebody else's by now, when the connection has just been lost.
  sockaddr address{};
  socklen_t length = sizeof address;
  if (!copy || getsockname(copy.get(), &address, &length) != 0 || address.sa_family != AF_UNIX) {
    return UniqueFd();
  }
  return copy;
}

bool wait_until_read(const UniqueFd& connection, std::chrono::milliseconds timeout) noexcept {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  // The kernel charges the writer of a unix socket until the reader has taken the bytes; it has no
  // event for it.
  for (int unread = 0; connection;) {
    pollfd gone{.fd = connection.get(), .events = 0, .revents = 0};
    if (poll(&gone, 1, unread > 0 ? 1 : 0) > 0) return true;
    if (ioctl(connection.get(), SIOCOUTQ, &unread) != 0 || unread == 0) return true;
    if (std::chrono::steady_clock::now() >= deadline) return false;
  }
  return true;
}

}  // namespace insight::transport
