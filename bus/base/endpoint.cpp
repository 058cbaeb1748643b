// SPDX-License-Identifier: Apache-2.0
#include "bus/base/endpoint.hpp"

#include <charconv>
#include <cstdlib>

#include <arpa/inet.h>
#include <unistd.h>

namespace insight {

namespace {

// sockaddr_un holds 108 bytes with the final zero.
constexpr size_t kMaxSocketPath = 107;

Result<Endpoint> parse_host_port(std::string_view rest, std::string_view whole) {
  const auto bad = [&](std::string_view why) {
    return Error{"\"" + std::string(whole) + "\": " + std::string(why)};
  };
  const size_t colon = rest.rfind(':');
  if (colon == std::string_view::npos || rest.find(']', colon) != std::string_view::npos) {
    return bad("the port is missing");
  }
  Endpoint endpoint;
  std::string_view host = rest.substr(0, colon);
  if (host.starts_with('[')) {
    if (!host.ends_with(']')) return bad("the bracket of the IPv6 address is not closed");
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return bad("an IPv6 address stands in brackets, as in [::1]:5571");
  }
  endpoint.host = host;
  const std::string_view port = rest.substr(colon + 1);
  unsigned number = 0;
  if (port == "*") {
    endpoint.port = 0;
    return endpoint;
  }
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc{} || end != port.data() + port.size() || number > 65535) {
    return bad("the port must be a number from 0 to 65535, or *");
  }
  endpoint.port = static_cast<uint16_t>(number);
  return endpoint;
}

}  // namespace

std::string Endpoint::text() const {
  if (kind == Kind::ipc) return "ipc://" + path;
  const bool is_v6 = host.find(':') != std::string::npos;
  return "tcp://" + (is_v6 ? "[" + host + "]" : host) + ":" +
         (port == 0 ? "*" : std::to_string(port));
}

bool Endpoint::is_loopback() const {
  if (kind == Kind::ipc) return true;
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  if (inet_pton(AF_INET6, host.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6);
  return host == "localhost";
}

Result<Endpoint> parse_endpoint(std::string_view text) {
  const auto bad = [&](std::string_view why) {
    return Error{"\"" + std::string(text) + "\": " + std::string(why)};
  };
  if (text.starts_with("ipc://")) {
    Endpoint endpoint;
    endpoint.kind = Endpoint::Kind::ipc;
    endpoint.path = text.substr(6);
    constexpr std::string_view variable = "{runtime_dir}";
    const size_t at = endpoint.path.find(variable);
    if (at != std::string::npos) endpoint.path.replace(at, variable.size(), runtime_directory());
    if (!endpoint.path.starts_with('/'))
      return bad("an ipc path must be absolute, as in ipc:///run/insight/bus.ipc");
    if (endpoint.path.size() > kMaxSocketPath) return bad("an ipc path has at most 107 bytes");
    return endpoint;
  }
  if (text.starts_with("tcp://")) {
    Result<Endpoint> endpoint = parse_host_port(text.substr(6), text);
    if (endpoint && endpoint->host.empty())
      return bad("the host is missing; * means every address");
    return endpoint;
  }
  return bad("expected tcp://HOST:PORT or ipc:///PATH");
}

Result<Endpoint> parse_http_address(std::string_view text) {
  if (text.find("://") != std::string_view::npos) {
    return Error{"\"" + std::string(text) + "\": expected HOST:PORT, as in 127.0.0.1:9092"};
  }
  Result<Endpoint> endpoint = parse_host_port(text, text);
  if (endpoint && endpoint->host.empty()) endpoint->host = "*";
  return endpoint;
}

std::string runtime_directory() {
  if (const char* directory = std::getenv("XDG_RUNTIME_DIR");
      directory != nullptr && *directory == '/') {
    return std::string(directory) + "/insight";
  }
  if (geteuid() == 0) return "/run/insight";
  const char* temporary = std::getenv("TMPDIR");
  const std::string base = temporary != nullptr && *temporary == '/' ? temporary : "/tmp";
  return base + "/insight-" + std::to_string(geteuid());
}

}  // namespace insight
