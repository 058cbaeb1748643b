// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>

namespace insight {

class HttpStream;

struct HttpRequest {
  std::string method;
  std::string path;
  std::string query;  ///< without '?'; as sent
  std::string accept;
  std::string accept_encoding;
  bool is_loopback = false;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
  /// Not null: the body goes on with what is written here, chunk by chunk, and `body` is not used.
  std::shared_ptr<HttpStream> stream{};
  std::string vary{};  ///< request headers that decide what is answered, besides Accept-Encoding
};

/// Answers a request.  Called from the http thread.
using HttpHandler = std::function<HttpResponse(const HttpRequest&)>;

}  // namespace insight
