// SPDX-License-Identifier: Apache-2.0
#include "bus/transport/monitor.hpp"

#include <atomic>
#include <cstring>
#include <string>

namespace insight::transport {

namespace {

std::string unique_address() {
  static std::atomic<uint64_t> next{0};
  return "inproc://insight-monitor-" + std::to_string(next.fetch_add(1));
}

}  // namespace

Monitor::Monitor(zmq::context_t& context, zmq::socket_t& watched, int events)
    : watched_(watched), reader_(context, zmq::socket_type::pair) {
  const std::string address = unique_address();
  if (zmq_socket_monitor(watched.handle(), address.c_str(), events) != 0) throw zmq::error_t();
  // Without a limit: at a limit libzmq's I/O thread would wait for us, and with it all traffic.
  reader_.set(zmq::sockopt::rcvhwm, 0);
  reader_.set(zmq::sockopt::linger, 0);
  reader_.connect(address);
}

Monitor::~Monitor() { zmq_socket_monitor(watched_.handle(), nullptr, 0); }

std::optional<Monitor::Event> Monitor::next() {
  // Two frames: uint16 event and uint32 value, then the address.
  zmq::message_t frame;
  if (zmq_msg_recv(frame.handle(), reader_.handle(), ZMQ_DONTWAIT) < 0) return std::nullopt;
  Event event;
  if (frame.size() >= 6) {
    uint16_t what;
    uint32_t value;
    std::memcpy(&what, frame.data(), sizeof what);
    std::memcpy(&value, frame.data<char>() + sizeof what, sizeof value);
    event = {.what = what, .value = static_cast<int>(value)};
  }
  while (frame.more()) {
    if (zmq_msg_recv(frame.handle(), reader_.handle(), ZMQ_DONTWAIT) < 0) break;
  }
  return event;
}

}  // namespace insight::transport
