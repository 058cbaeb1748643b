// SPDX-License-Identifier: Apache-2.0
#include "bus/http/http_stream.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bus/base/clock.hpp"
#include "bus/base/unique_fd.hpp"
#include "bus/http/http_client.hpp"
#include "bus/http/http_server.hpp"

namespace insight {
namespace {

using namespace std::chrono_literals;

template <typename Predicate>
bool wait_for(Predicate predicate) {
  for (const uint64_t deadline = mono_now_ns() + 60 * kSecond; mono_now_ns() < deadline;) {
    if (predicate()) return true;
    std::this_thread::sleep_for(2ms);
  }
  return false;
}

/// A server whose GET / is the stream of the test.
struct Server {
  std::shared_ptr<HttpStream> stream = std::make_shared<HttpStream>();
  HttpServer http;
  std::string url;

  explicit Server(HttpLimits limits = {}) : http(limits) {
    http.route("GET", "/", [this](const HttpRequest&) { return HttpResponse{.stream = stream}; });
    http.start(*parse_http_address("127.0.0.1:0"));
    url = "http://127.0.0.1:" + std::to_string(http.port()) + "/";
  }
};

/// A client in a thread of its own.
struct Client {
  UniqueFd stop{eventfd(0, EFD_CLOEXEC)};
  std::string text;  // after end.get()
  std::atomic<size_t> bytes{0};
  std::future<Result<StreamEnd>> end;

  Client(const std::string& url, std::chrono::milliseconds silence, size_t enough = SIZE_MAX)
      : end(std::async(std::launch::async, [this, url, silence, enough] {
          return http_get_stream(url, silence, stop.get(), [this, enough](std::string_view piece) {
            text += piece;
            bytes = text.size();
            return text.size() < enough;
          });
        })) {}
};

}  // namespace

TEST_CASE("what is written is sent at once, and the end is an end") {
  Server server;
  server.stream->write("before anybody asks\n");
  Client client(server.url, 60s);

  REQUIRE(wait_for([&] { return client.bytes == 20; }));
  server.stream->write("now\n");
  REQUIRE(wait_for([&] { return client.bytes == 24; }));
  server.stream->write("last\n");
  server.stream->end();
  const auto end = client.end.get();

  REQUIRE(end);
  CHECK(end->is_complete);
  CHECK(end->status == 200);
  CHECK(client.text == "before anybody asks\nnow\nlast\n");
  CHECK(wait_for([&] { return !server.stream->is_open(); }));
}

TEST_CASE("nothing is lost or doubled between a writer and a client") {
  Server server;
  Client client(server.url, 60s);
  std::string expected;
  for (int i = 0; i < 20'000; ++i) {
    const std::string line = std::to_string(i) + "\n";
    expected += line;
    server.stream->write(line);
  }
  server.stream->end();

  const auto end = client.end.get();

  REQUIRE(end);
  CHECK(end->is_complete);
  CHECK(client.text == expected);
}

TEST_CASE("the client ends it when it has enough, or when it is told to") {
  {
    Server server;
    server.stream->write("0123456789");
    Client client(server.url, 60s, 5);
    const auto end = client.end.get();
    REQUIRE(end);
    CHECK_FALSE(end->is_complete);
    CHECK(wait_for([&] {
      server.stream->write("more");
      return !server.stream->is_open();
    }));
  }
  Server server;
  Client client(server.url, 60s);
  const uint64_t one = 1;
  REQUIRE(write(client.stop.get(), &one, sizeof one) == sizeof one);
  const auto end = client.end.get();
  REQUIRE(end);
  CHECK_FALSE(end->is_complete);
}

TEST_CASE("a server that stops cuts its streams off, suspended or not") {
  Server server;
  server.stream->write("x");
  Client client(server.url, 60s);
  REQUIRE(wait_for([&] { return client.bytes == 1; }));

  server.http.stop();
  const auto end = client.end.get();

  CHECK_FALSE(end);
  CHECK_FALSE(server.stream->is_open());
}

TEST_CASE("a cut stream, and one that is silent, are told from one that is complete") {
  Server server;
  server.stream->write("x");
  {
    Client client(server.url, 60s);
    REQUIRE(wait_for([&] { return client.bytes == 1; }));
    server.stream->cut();
    CHECK_FALSE(client.end.get());
  }
  server.stream = std::make_shared<HttpStream>();
  server.stream->write("x");
  const auto end = Client(server.url, 200ms).end.get();
  REQUIRE_FALSE(end);
  CHECK(end.error().message == "nothing came for 200 ms");
}

TEST_CASE("a client that takes nothing is cut off after the time of silence") {
  Server server({.silence = 1s});
  const UniqueFd idle(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(server.http.port());
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::connect(idle.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0);
  const std::string request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
  REQUIRE(::send(idle.get(), request.data(), request.size(), 0) ==
          static_cast<ssize_t>(request.size()));
  server.stream->write(std::string(64 << 20, 'x'));

  CHECK(wait_for([&] { return !server.stream->is_open(); }));
  CHECK(server.stream->waiting() == 0);
}

TEST_CASE("an answer that is none is handed to nobody") {
  HttpServer server;
  server.route("GET", "/", [](const HttpRequest&) {
    return HttpResponse{.status = 503, .body = "too many\n"};
  });
  server.start(*parse_http_address("127.0.0.1:0"));

  Client client("http://127.0.0.1:" + std::to_string(server.port()) + "/", 60s);
  const auto end = client.end.get();

  REQUIRE(end);
  CHECK(end->status == 503);
  CHECK(end->body == "too many\n");
  CHECK(client.text.empty());
  CHECK_FALSE(http_get_stream("http://127.0.0.1:1/", 5s, client.stop.get(),
                              [](std::string_view) { return true; }));
}

}  // namespace insight
