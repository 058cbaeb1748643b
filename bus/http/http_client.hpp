// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

#include "bus/base/result.hpp"

namespace insight {

struct HttpReply {
  int status = 0;
  std::string body;
};

/// GET with a deadline and a bound on the body (64 MiB).  An error is a sentence.  Proxies of the
/// environment are not used, redirects not followed.  libcurl stands behind it.
Result<HttpReply> http_get(const std::string& url, std::chrono::milliseconds timeout);

/// How an answer that goes on came to its end.
struct StreamEnd {
  int status = 0;
  bool is_complete = false;  ///< the server ended it; false: `take` or `stop_fd` did
  std::string body;          ///< of a status other than 200 (at most 64 KiB); it is not taken
};

/// GET whose body is handed to `take` piece by piece, until the server ends it, `take` returns
/// false or `stop_fd` can be read.  An error is a sentence: nobody there, broken off, or nothing
/// came for `silence`.  What `take` throws ends it, too, and is thrown on.
Result<StreamEnd> http_get_stream(const std::string& url, std::chrono::milliseconds silence,
                                  int stop_fd, const std::function<bool(std::string_view)>& take);

}  // namespace insight
