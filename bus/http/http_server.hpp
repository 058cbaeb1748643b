// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "bus/base/endpoint.hpp"
#include "bus/base/http_message.hpp"

namespace insight {

struct HttpLimits {
  unsigned connections = 512;            ///< further ones wait until one is closed
  size_t connection_bytes = 16 << 10;    ///< of a request's line and headers; more is answered 4xx
  size_t request_body_bytes = 64 << 10;  ///< more is answered 413
  size_t response_bytes =
      256 << 20;                     ///< of all answers that are on their way; more is answered 503
  std::chrono::seconds silence{10};  ///< a connection that neither sends nor takes is closed
  std::chrono::seconds response{60};  ///< an answer that is not taken in this time is cut off
};

/// The one HTTP server, with its one thread `http`.  IPv4 and IPv6; limits of connections, memory
/// and time; a slow or silent client costs nobody else.  libmicrohttpd stands behind it.
///
/// An answer with a `stream` is sent as it is written, has no deadline, and is cut off by stop(),
/// or when its client takes nothing for the time of `silence`.
///
/// An answer that is worth it goes out as gzip where the client wants that, compressed piece by
/// piece as it is sent, so that a large one delays nobody.
///
/// GET routes answer HEAD too; an unknown path is 404, an unknown method 405, a handler that throws
/// 500.
class HttpServer {
 public:
  explicit HttpServer(HttpLimits limits = {});
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// Answers `method` (GET or POST) on exactly this path.  Before start() only.
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
