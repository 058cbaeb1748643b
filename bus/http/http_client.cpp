// SPDX-License-Identifier: Apache-2.0
#include "bus/http/http_client.hpp"

#include <array>
#include <memory>

#include <curl/curl.h>

namespace insight {

namespace {

constexpr size_t kMaxBodyBytes = 64 << 20;

struct Body {
  std::string text;
  bool is_too_large = false;
};

size_t on_body(const char* data, size_t, size_t size, void* context) noexcept {
  auto& body = *static_cast<Body*>(context);
  if (body.text.size() + size > kMaxBodyBytes) {
    body.is_too_large = true;
    return 0;
  }
  try {
    body.text.append(data, size);
  } catch (...) {
    return 0;
  }
  return size;
}

}  // namespace

Result<HttpReply> http_get(const std::string& url, std::chrono::milliseconds timeout) {
  // easy_init does the global initialisation once; the command line calls it from one thread.
  const std::unique_ptr<CURL, void (*)(CURL*)> curl(curl_easy_init(), curl_easy_cleanup);
  if (!curl) return Error{"libcurl does not start"};
  Body body;
  std::array<char, CURL_ERROR_SIZE> why{};
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl.get(), CURLOPT_PROXY, "");
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT_MS, static_cast<long>(timeout.count()));
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, &on_body);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &body);
  curl_easy_setopt(curl.get(), CURLOPT_ERRORBUFFER, why.data());
  const CURLcode code = curl_easy_perform(curl.get());
  if (body.is_too_large) return Error{"the answer is larger than 64 MiB"};
  if (code != CURLE_OK) {
    return Error{std::string(why[0] != '\0' ? why.data() : curl_easy_strerror(code))};
  }
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  return HttpReply{static_cast<int>(status), std::move(body.text)};
}

}  // namespace insight
