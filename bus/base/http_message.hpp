// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

namespace insight {

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
};

/// Answers a request.  Called from the http thread.
using HttpHandler = std::function<HttpResponse(const HttpRequest&)>;

}  // namespace insight
