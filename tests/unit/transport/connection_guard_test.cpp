// SPDX-License-Identifier: Apache-2.0
#include "bus/transport/connection_guard.hpp"

#include <cerrno>
#include <string>
#include <system_error>

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bus/base/unique_fd.hpp"

namespace insight::transport {
namespace {

/// Two ends of one tcp connection.
struct Connection {
  Connection() {
    const UniqueFd listener(socket(AF_INET, SOCK_STREAM, 0));
    if (!listener) throw std::system_error(errno, std::generic_category(), "socket");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const raw = reinterpret_cast<sockaddr*>(&address);
    REQUIRE(bind(listener.get(), raw, size) == 0);
    REQUIRE(listen(listener.get(), 1) == 0);
    REQUIRE(getsockname(listener.get(), raw, &size) == 0);
    peer.reset(socket(AF_INET, SOCK_STREAM, 0));
    REQUIRE(connect(peer.get(), raw, size) == 0);
    ours.reset(accept(listener.get(), nullptr, nullptr));
    REQUIRE(ours);
  }

  /// Sends from the peer and reads here.
  void transfer(size_t bytes) {
    const std::string chunk(1 << 16, 'x');
    std::string sink(1 << 16, '\0');
    for (size_t done = 0; done < bytes; done += chunk.size()) {
      REQUIRE(send(peer.get(), chunk.data(), chunk.size(), 0) ==
              static_cast<ssize_t>(chunk.size()));
      REQUIRE(recv(ours.get(), sink.data(), chunk.size(), MSG_WAITALL) ==
              static_cast<ssize_t>(chunk.size()));
    }
  }

  bool is_cut() const {
    char byte = 0;
    return recv(ours.get(), &byte, 1, MSG_DONTWAIT) == 0;
  }

  UniqueFd peer;
  UniqueFd ours;
};

TEST_CASE("a connection that sends much and never a whole message is cut at the second look") {
  Connection connection;
  ConnectionGuard guard;
  guard.accepted(connection.ours.get());
  connection.transfer(ConnectionGuard::kSuspiciousBytes + (1 << 20));

  CHECK(guard.check(true) == 0);
  CHECK(guard.is_watchful());
  CHECK(guard.check(true) == 1);

  CHECK(connection.is_cut());
  CHECK(guard.check(true) == 0);
  CHECK_FALSE(guard.is_watchful());
}

TEST_CASE("a message between two looks clears a connection") {
  Connection connection;
  ConnectionGuard guard;
  guard.accepted(connection.ours.get());
  for (int i = 0; i < 5; ++i) {
    connection.transfer(ConnectionGuard::kSuspiciousBytes + (1 << 20));
    CHECK(guard.check(true) == 0);
    guard.completed(connection.ours.get());
    CHECK(guard.check(true) == 0);
  }
  CHECK_FALSE(connection.is_cut());
}

TEST_CASE("while whole messages wait only what is impossible for them is cut") {
  Connection connection;
  ConnectionGuard guard;
  guard.accepted(connection.ours.get());
  connection.transfer(ConnectionGuard::kSuspiciousBytes * 2);
  for (int i = 0; i < 5; ++i) CHECK(guard.check(false) == 0);

  connection.transfer(ConnectionGuard::kImpossibleBytes);

  CHECK(guard.check(false) == 1);
  CHECK(connection.is_cut());
}

TEST_CASE("descriptors that are closed or no connections are left alone") {
  ConnectionGuard guard;
  guard.accepted(-1);
  guard.closed(-1);
  guard.completed(-1);
  guard.closed(1'000'000);
  guard.completed(1'000'000);
  const UniqueFd pipe_end(dup(0));
  guard.accepted(pipe_end.get());
  guard.accepted(900);

  CHECK(guard.check(true) == 0);
  CHECK_FALSE(guard.is_watchful());
}

}  // namespace
}  // namespace insight::transport
