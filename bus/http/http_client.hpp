// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>

#include "bus/base/result.hpp"

namespace insight {

struct HttpReply {
  int status = 0;
  std::string body;
};

/// GET with a deadline and a bound on the body (64 MiB).  An error is a sentence.  Proxies of the
/// environment are not used, redirects not followed.  libcurl stands behind it.
Result<HttpReply> http_get(const std::string& url, std::chrono::milliseconds timeout);

}  // namespace insight
