// SPDX-License-Identifier: Apache-2.0
#include "bus/http/http_server.hpp"

#include <chrono>
#include <thread>

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bus/base/clock.hpp"
#include "bus/base/unique_fd.hpp"
#include "bus/http/http_client.hpp"

namespace insight {
namespace {

using namespace std::chrono_literals;

constexpr size_t kLargeBytes = 64 << 20;

/// A bare client: sends what it is told, in pieces if need be.
class RawClient {
 public:
  explicit RawClient(uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0);
  }

  void send(std::string_view bytes) {
    REQUIRE(::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(bytes.size()));
  }

  /// What comes until the server closes or nothing came for `patience`.
  std::string receive(std::chrono::milliseconds patience = 5s) {
    std::string out;
    std::array<char, 65536> buffer{};
    pollfd ready{fd_.get(), POLLIN, 0};
    while (::poll(&ready, 1, static_cast<int>(patience.count())) == 1) {
      const ssize_t n = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
      if (n <= 0) {
        is_closed = true;
        break;
      }
      out.append(buffer.data(), static_cast<size_t>(n));
    }
    return out;
  }

  bool is_closed = false;

 private:
  UniqueFd fd_;
};

struct Server {
  HttpServer http;
  std::string base;

  explicit Server(HttpLimits limits = {}, const char* address = "127.0.0.1:0") : http(limits) {
    http.route("GET", "/hello", [](const HttpRequest& request) {
      return HttpResponse{.body = request.method + " " + request.query +
                                  (request.is_loopback ? " loopback" : "")};
    });
    http.route("POST", "/do", [](const HttpRequest&) { return HttpResponse{.body = "done"}; });
    http.route("GET", "/large", [](const HttpRequest&) {
      return HttpResponse{.body = std::string(kLargeBytes, 'x')};
    });
    http.route("GET", "/throws",
               [](const HttpRequest&) -> HttpResponse { throw std::runtime_error("no luck"); });
    http.start(*parse_http_address(address));
    base = "http://127.0.0.1:" + std::to_string(http.port());
  }

  std::string raw(std::string_view request) {
    RawClient client(http.port());
    client.send(request);
    return client.receive();
  }
};

std::string status_line(const std::string& answer) { return answer.substr(0, answer.find('\r')); }

}  // namespace

TEST_CASE("a route answers GET with its query, and HEAD without a body") {
  Server server;

  const auto reply = http_get(server.base + "/hello?a=1&b=%20", 5s);
  const std::string head =
      server.raw("HEAD /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");

  REQUIRE(reply);
  CHECK(reply->status == 200);
  CHECK(reply->body == "GET a=1&b=%20 loopback");
  CHECK(status_line(head) == "HTTP/1.1 200 OK");
  CHECK(head.find("Content-Length: 14\r\n") != std::string::npos);
  CHECK(head.ends_with("\r\n\r\n"));
}

TEST_CASE("a client that wants gzip gets it, for an answer that is worth it") {
  Server server;
  const auto ask = [&](const std::string& method, const std::string& path, const char* headers) {
    return server.raw(method + " " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" +
                      headers + "\r\n");
  };

  const std::string zipped = ask("GET", "/large", "Accept-Encoding: gzip;q=0.5\r\n");
  const std::string twice =
      ask("GET", "/large", "Accept-Encoding: br\r\nAccept-Encoding: gzip\r\n");
  const std::string head = ask("HEAD", "/large", "Accept-Encoding: gzip\r\n");
  const std::string small = ask("GET", "/hello", "Accept-Encoding: gzip\r\n");
  const std::string plain = ask("GET", "/large", "Accept-Encoding: gzip;q=0\r\n");

  for (const std::string& answer : {zipped, twice, head}) {
    CHECK(status_line(answer) == "HTTP/1.1 200 OK");
    CHECK(answer.find("Content-Encoding: gzip\r\n") != std::string::npos);
    CHECK(answer.size() < kLargeBytes / 50);
  }
  CHECK(zipped.find("\x1f\x8b") != std::string::npos);
  CHECK(zipped.ends_with("\r\n0\r\n\r\n"));
  CHECK(head.ends_with("\r\n\r\n"));
  CHECK(head.find("\x1f\x8b") == std::string::npos);
  for (const std::string& answer : {small, plain}) {
    CHECK(answer.find("Content-Encoding") == std::string::npos);
    CHECK(answer.find("Content-Length: ") != std::string::npos);
  }
  for (const std::string& answer : {zipped, head, small, plain}) {
    CHECK(answer.find("Vary: Accept-Encoding\r\n") != std::string::npos);
  }
  CHECK(plain.size() > kLargeBytes);
}

TEST_CASE("what is not there is 404, what is not possible 405 with what is") {
  Server server;

  const std::string missing = server.raw("GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const std::string post = server.raw(
      "POST /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc");
  const std::string get = server.raw("GET /do HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const std::string odd = server.raw("BREW /do HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");

  CHECK(status_line(missing) == "HTTP/1.1 404 Not Found");
  CHECK(missing.ends_with("there is nothing at /x\n"));
  CHECK(status_line(post) == "HTTP/1.1 405 Method Not Allowed");
  CHECK(post.find("Allow: GET, HEAD\r\n") != std::string::npos);
  CHECK(get.find("Allow: POST\r\n") != std::string::npos);
  CHECK(status_line(odd) == "HTTP/1.1 405 Method Not Allowed");
}

TEST_CASE("POST is answered after its body, and a body that is too large closes the connection") {
  Server server({.request_body_bytes = 1000});
  const auto post = [&](size_t size) {
    RawClient client(server.http.port());
    client.send("POST /do HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: " +
                std::to_string(size) + "\r\n\r\n" + std::string(size, 'x'));
    return client.receive();
  };

  CHECK(post(1000).ends_with("done"));
  CHECK(post(1001).find("done") == std::string::npos);
  CHECK(http_get(server.base + "/hello", 5s));
}

TEST_CASE("a handler that throws is a 500 that says why") {
  Server server;

  const auto reply = http_get(server.base + "/throws", 5s);

  REQUIRE(reply);
  CHECK(reply->status == 500);
  CHECK(reply->body == "internal error: no luck\n");
}

TEST_CASE("a client that does not read costs nobody else") {
  Server server;
  RawClient slow(server.http.port());
  slow.send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n");

  const uint64_t start_ns = mono_now_ns();
  for (int i = 0; i < 20; ++i) REQUIRE(http_get(server.base + "/hello", 5s));

  CHECK(mono_now_ns() - start_ns < 2 * kSecond);
}

TEST_CASE("answers that nobody takes are bounded together; beyond that it is 503") {
  Server server({.response_bytes = kLargeBytes + kLargeBytes / 2});
  RawClient slow(server.http.port());
  slow.send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
  REQUIRE(http_get(server.base + "/hello", 5s));  // served after the slow one's answer was made

  const auto second = http_get(server.base + "/large", 5s);
  REQUIRE(second);
  CHECK(second->status == 503);

  CHECK(slow.receive(200ms).size() > kLargeBytes);
  const auto third = http_get(server.base + "/large", 20s);
  REQUIRE(third);
  CHECK(third->status == 200);
}

TEST_CASE("an answer that is not taken in time is cut off") {
  Server server({.silence = 30s, .response = 0s});
  RawClient slow(server.http.port());
  slow.send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n");

  const std::string answer = slow.receive();

  CHECK(slow.is_closed);
  CHECK(answer.size() < kLargeBytes);
}

TEST_CASE("a silent client is closed, and one that never ends its headers is, too") {
  Server server({.silence = 1s});
  RawClient silent(server.http.port());
  RawClient half(server.http.port());
  half.send("GET /hello HTTP/1.1\r\nHos");

  silent.receive();
  half.receive();

  CHECK(silent.is_closed);
  CHECK(half.is_closed);
}

TEST_CASE("headers that are too large are refused") {
  Server server({.connection_bytes = 4096});
  const std::string answer =
      server.raw("GET /hello HTTP/1.1\r\nX: " + std::string(8000, 'a') + "\r\n\r\n");

  CHECK(answer.find("200 OK") == std::string::npos);
  CHECK(http_get(server.base + "/hello", 5s));
}

TEST_CASE("bytes that are no HTTP cost their own connection only") {
  Server server;
  for (const char* bytes : {"\xff\x00\x01", "GET\r\n\r\n", "\r\n\r\n\r\n", "GET / HTTP/9.9\r\n\r\n",
                            "GET /hello HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                            "POST /do HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}) {
    RawClient client(server.http.port());
    client.send(bytes);
    client.receive(50ms);
  }

  CHECK(http_get(server.base + "/hello", 5s));
}

TEST_CASE("more clients than connections wait until one leaves") {
  Server server({.connections = 4, .silence = 1s});
  std::vector<std::unique_ptr<RawClient>> idle;
  for (int i = 0; i < 4; ++i) idle.push_back(std::make_unique<RawClient>(server.http.port()));

  const auto reply = http_get(server.base + "/hello", 10s);

  CHECK(reply);  // the idle ones are closed after their silence
}

TEST_CASE("IPv6 is served on [::1], and * serves both families") {
  Server six({}, "[::1]:0");
  CHECK(http_get("http://[::1]:" + std::to_string(six.http.port()) + "/hello", 5s));

  Server all({}, "*:0");
  const std::string port = std::to_string(all.http.port());
  for (const char* host : {"127.0.0.1", "[::1]"}) {
    const auto reply = http_get("http://" + std::string(host) + ":" + port + "/hello", 5s);
    REQUIRE(reply);
    CHECK(reply->body.ends_with(" loopback"));
  }
}

TEST_CASE("a port in use is told with who holds it") {
  Server first;
  HttpServer second;
  const std::string address = "127.0.0.1:" + std::to_string(first.http.port());

  CHECK_THROWS_WITH(
      second.start(*parse_http_address(address)),
      doctest::Contains((address + ": in use by pid " + std::to_string(getpid())).c_str()));
}

TEST_CASE("an address of another machine is told as such") {
  HttpServer server;

  CHECK_THROWS_WITH(
      server.start(*parse_http_address("192.0.2.1:0")),
      doctest::Contains("cannot listen on 192.0.2.1:*: Cannot assign requested address"));
}

TEST_CASE("a server is stopped twice, and its port is free at once") {
  Server server;
  const std::string address = "127.0.0.1:" + std::to_string(server.http.port());
  REQUIRE(http_get(server.base + "/hello", 5s));

  server.http.stop();
  server.http.stop();

  CHECK(!http_get(server.base + "/hello", 1s));
  HttpServer next;
  next.start(*parse_http_address(address));
}

TEST_CASE("the client tells why there is no answer") {
  const auto refused = http_get("http://127.0.0.1:1/", 1s);
  REQUIRE(!refused);
  CHECK(refused.error().message.find("Connection refused") != std::string::npos);

  Server server;
  RawClient unused(server.http.port());
  HttpServer slow;
  slow.route("GET", "/", [](const HttpRequest&) {
    std::this_thread::sleep_for(300ms);
    return HttpResponse{};
  });
  slow.start(*parse_http_address("127.0.0.1:0"));
  const auto late = http_get("http://127.0.0.1:" + std::to_string(slow.port()) + "/", 50ms);
  REQUIRE(!late);
  CHECK(late.error().message.find("timed out") != std::string::npos);
}

TEST_CASE("the client refuses an answer that is too large") {
  HttpServer server;
  server.route("GET", "/", [](const HttpRequest&) {
    return HttpResponse{.body = std::string((64 << 20) + 1, 'x')};
  });
  server.start(*parse_http_address("127.0.0.1:0"));

  const auto reply = http_get("http://127.0.0.1:" + std::to_string(server.port()) + "/", 20s);

  REQUIRE(!reply);
  CHECK(reply.error().message == "the answer is larger than 64 MiB");
}

}  // namespace insight
