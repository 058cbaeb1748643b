// SPDX-License-Identifier: Apache-2.0
#include "bus/http/listen_socket.hpp"

#include <cerrno>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "bus/base/path_lock.hpp"

namespace insight {

namespace {

constexpr int kBacklog = 128;

using Addresses = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;

std::string display(const Endpoint& address) { return address.text().substr(6); }

Addresses resolve(const Endpoint& address, const char* host) {
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host, std::to_string(address.port).c_str(), &hints, &found);
  if (error != 0) {
    throw std::runtime_error("cannot listen on " + display(address) + ": " + gai_strerror(error) +
                             "; choose an address of this machine");
  }
  return {found, freeaddrinfo};
}

uint16_t bound_port(int fd) {
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) != 0) return 0;
  if (name.ss_family == AF_INET6)
    return ntohs(reinterpret_cast<const sockaddr_in6*>(&name)->sin6_port);
  return ntohs(reinterpret_cast<const sockaddr_in*>(&name)->sin_port);
}

/// The error number, 0 when it listens.
int try_listen(const addrinfo& to, bool both_families, UniqueFd& fd) {
  fd.reset(::socket(to.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return errno;
  // A broker that is started again at once must not wait for connections in TIME_WAIT.
  const int on = 1;
  (void)setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (to.ai_family == AF_INET6) {
    const int only = both_families ? 0 : 1;
    (void)setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
  }
  if (::bind(fd.get(), to.ai_addr, to.ai_addrlen) != 0) return errno;
  return ::listen(fd.get(), kBacklog) == 0 ? 0 : errno;
}

}  // namespace

ListenSocket listen_on(const Endpoint& address) {
  const bool everywhere = address.host.empty() || address.host == "*";
  // "::" first: with IPV6_V6ONLY off it serves IPv4 as well.
  const Addresses addresses = resolve(address, everywhere ? "::" : address.host.c_str());
  ListenSocket out;
  int error = 0;
  for (const addrinfo* a = addresses.get(); a != nullptr; a = a->ai_next) {
    error = try_listen(*a, everywhere, out.fd);
    if (error == 0) break;
  }
  if (error == EAFNOSUPPORT && everywhere) {
    const Addresses v4 = resolve(address, "0.0.0.0");
    error = try_listen(*v4, false, out.fd);
  }
  if (error == EADDRINUSE) {
    const std::string holder = tcp_port_holder(address.port);
    throw std::runtime_error("cannot listen on " + display(address) + ": in use by " +
                             (holder.empty() ? "another process" : holder) +
                             "; stop it or choose another address");
  }
  if (error != 0) {
    throw std::runtime_error("cannot listen on " + display(address) + ": " + std::strerror(error) +
                             "; choose another address");
  }
  out.port = bound_port(out.fd.get());
  return out;
}

}  // namespace insight
