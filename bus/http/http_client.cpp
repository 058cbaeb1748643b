// SPDX-License-Identifier: Apache-2.0
#include "bus/http/http_client.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <exception>
#include <memory>
#include <utility>

#include <curl/curl.h>

#include "bus/base/clock.hpp"

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

constexpr size_t kMaxErrorBytes = 64 << 10;

using Easy = std::unique_ptr<CURL, void (*)(CURL*)>;
using WhyText = std::array<char, CURL_ERROR_SIZE>;

void set_up(CURL* curl, const std::string& url, WhyText& why) {
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_PROXY, "");
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why.data());
}

Error what_failed(CURL* curl, CURLcode code, const WhyText& why) {
  // curl's own sentence repeats the address, and how many milliseconds it took.
  long number = 0;
  if (code == CURLE_COULDNT_CONNECT &&
      curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &number) == CURLE_OK && number != 0) {
    return {std::system_category().message(static_cast<int>(number))};
  }
  return {std::string(why[0] != '\0' ? why.data() : curl_easy_strerror(code))};
}

struct Streamed {
  CURL* curl;
  const std::function<bool(std::string_view)>& take;
  StreamEnd end{};
  bool has_news = false;
  bool is_over = false;
  std::exception_ptr thrown{};
};

size_t on_piece(const char* data, size_t, size_t size, void* context) noexcept {
  auto& streamed = *static_cast<Streamed*>(context);
  streamed.has_news = true;
  try {
    long status = 0;
    curl_easy_getinfo(streamed.curl, CURLINFO_RESPONSE_CODE, &status);
    if (status == 200) {
      streamed.is_over = !streamed.take({data, size});
    } else {
      streamed.end.body.append(data, std::min(size, kMaxErrorBytes - streamed.end.body.size()));
    }
  } catch (...) {
    streamed.thrown = std::current_exception();
    streamed.is_over = true;
  }
  return streamed.is_over ? 0 : size;
}

/// Until the transfer is done, or it shall not go on.  False: nothing came for too long.
bool transfer(CURLM* multi, Streamed& streamed, std::chrono::milliseconds silence, int stop_fd) {
  uint64_t last_ns = mono_now_ns();
  while (!streamed.is_over) {
    int running = 0;
    if (curl_multi_perform(multi, &running) != CURLM_OK || running == 0) return true;
    const uint64_t now_ns = mono_now_ns();
    if (std::exchange(streamed.has_news, false)) last_ns = now_ns;
    if (now_ns - last_ns > static_cast<uint64_t>(silence.count()) * kMillisecond) return false;
    curl_waitfd stop{.fd = stop_fd, .events = CURL_WAIT_POLLIN, .revents = 0};
    curl_multi_poll(multi, &stop, 1, static_cast<int>(std::min(silence.count(), 1'000L)), nullptr);
    if ((stop.revents & CURL_WAIT_POLLIN) != 0) streamed.is_over = true;
  }
  return true;
}

}  // namespace

Result<HttpReply> http_get(const std::string& url, std::chrono::milliseconds timeout) {
  // easy_init does the global initialisation once; the command line calls it from one thread.
  const Easy curl(curl_easy_init(), curl_easy_cleanup);
  if (!curl) return Error{"libcurl does not start"};
  Body body;
  WhyText why{};
  set_up(curl.get(), url, why);
  curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT_MS, static_cast<long>(timeout.count()));
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, &on_body);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &body);
  const CURLcode code = curl_easy_perform(curl.get());
  if (body.is_too_large) return Error{"the answer is larger than 64 MiB"};
  if (code != CURLE_OK) return what_failed(curl.get(), code, why);
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  return HttpReply{static_cast<int>(status), std::move(body.text)};
}

Result<StreamEnd> http_get_stream(const std::string& url, std::chrono::milliseconds silence,
                                  int stop_fd, const std::function<bool(std::string_view)>& take) {
  const Easy curl(curl_easy_init(), curl_easy_cleanup);
  const std::unique_ptr<CURLM, CURLMcode (*)(CURLM*)> multi(curl_multi_init(), curl_multi_cleanup);
  if (!curl || !multi) return Error{"libcurl does not start"};
  WhyText why{};
  set_up(curl.get(), url, why);
  Streamed streamed{.curl = curl.get(), .take = take};
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, &on_piece);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &streamed);
  curl_multi_add_handle(multi.get(), curl.get());
  const bool in_time = transfer(multi.get(), streamed, silence, stop_fd);
  CURLcode code = CURLE_OK;
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi.get(), &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    code = message->data.result;
    streamed.end.is_complete = code == CURLE_OK;
  }
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  curl_multi_remove_handle(multi.get(), curl.get());
  if (streamed.thrown) std::rethrow_exception(streamed.thrown);
  streamed.end.status = static_cast<int>(status);
  if (streamed.is_over) return std::move(streamed.end);
  if (!in_time) {
    return Error{"nothing came for " + std::to_string(silence.count()) + " ms"};
  }
  if (code != CURLE_OK) return what_failed(curl.get(), code, why);
  return std::move(streamed.end);
}

}  // namespace insight
