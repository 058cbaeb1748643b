// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "bus/base/unique_fd.hpp"

namespace insight {

/// A TCP connection that can say anything, also ZMTP 3.0 frames that no ZeroMQ library would send.
class RawPeer {
 public:
  explicit RawPeer(uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    // A kernel may go on trying for minutes to send to a connection that was cut.
    const timeval patience{.tv_sec = 2, .tv_usec = 0};
    setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      throw std::runtime_error("cannot connect");
    }
  }

  /// False when the other side has closed the connection, or takes nothing any more.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }

  /// Greets as a PUSH socket without security does.
  bool greet() {
    std::string greeting(64, '\0');
    greeting[0] = '\xff';
    greeting[9] = '\x7f';
    greeting[10] = 3;
    greeting.replace(12, 4, "NULL");
    std::string ready = "\x05READY\x0bSocket-Type";
    ready += std::string("\0\0\0\x04", 4) + "PUSH";
    // The other side's greeting and READY, so that closing at once resets nothing under way.
    std::string answer(64 + 28, '\0');
    return send(greeting) &&
           send("\x04" + std::string(1, static_cast<char>(ready.size())) + ready) &&
           recv(fd_.get(), answer.data(), answer.size(), MSG_WAITALL) > 64;
  }

  /// One frame of at most 255 bytes.
  bool frame(std::string_view body, bool has_more) {
    std::string bytes(1, has_more ? '\x01' : '\0');
    bytes += static_cast<char>(body.size());
    bytes += body;
    return send(bytes);
  }

 private:
  UniqueFd fd_;
};

}  // namespace insight
