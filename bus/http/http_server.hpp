// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "bus/base/endpoint.hpp"
#include "bus/base/http_message.hpp"

namespace insight {

/// The one HTTP server, with its one thread `http`.  IPv4 and IPv6; limits of connections, memory
/// and time; a slow or silent client costs nobody else.  libmicrohttpd stands behind it.
class HttpServer {
 public:
  HttpServer();
  ~HttpServer();

  /// Answers `method` on exactly this path.  Before start() only.
  void route(std::string method, std::string path, HttpHandler handler);

  /// Binds and serves.  Throws std::runtime_error that names address, holder and remedy.
  void start(const Endpoint& address);

  /// The port, also when 0 was asked for.
  uint16_t port() const noexcept;

  /// Ends the thread; safe twice.
  void stop() noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace insight
