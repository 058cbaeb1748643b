// SPDX-License-Identifier: Apache-2.0
#include "bus/base/endpoint.hpp"

#include <cstdlib>
#include <string>

#include <doctest/doctest.h>

using namespace insight;

TEST_CASE("endpoints are read and written as ZeroMQ knows them") {
  for (std::string_view text : {"tcp://127.0.0.1:5571", "tcp://[::1]:5571", "tcp://*:5571",
                                "tcp://host:*", "ipc:///run/insight/bus.ipc"}) {
    CAPTURE(text);
    const Result<Endpoint> endpoint = parse_endpoint(text);
    REQUIRE(endpoint);
    CHECK(endpoint->text() == text);
  }
}

TEST_CASE("a wrong endpoint is refused with the reason") {
  for (std::string_view text :
       {"", "tcp://", "tcp://host", "tcp://host:", "tcp://host:65536", "tcp://host:12x",
        "tcp://::1:5571", "tcp://[::1:5571", "tcp://[::1]", "tcp://:5571", "ipc://relative",
        "ipc://", "udp://host:1", "host:1"}) {
    CAPTURE(text);
    const Result<Endpoint> endpoint = parse_endpoint(text);
    REQUIRE_FALSE(endpoint);
    CHECK(endpoint.error().message.starts_with("\"" + std::string(text) + "\": "));
  }
  CHECK_FALSE(parse_endpoint("ipc:///" + std::string(107, 'x')));
  CHECK(parse_endpoint("ipc:///" + std::string(106, 'x')));
}

TEST_CASE("only ipc and loopback addresses are called loopback") {
  for (std::string_view text : {"tcp://127.0.0.1:1", "tcp://127.9.9.9:1", "tcp://localhost:1",
                                "tcp://[::1]:1", "ipc:///a"}) {
    CAPTURE(text);
    CHECK(parse_endpoint(text)->is_loopback());
  }
  for (std::string_view text :
       {"tcp://*:1", "tcp://0.0.0.0:1", "tcp://10.0.0.1:1", "tcp://[::]:1", "tcp://head:1",
        "tcp://127.evil.example:1", "tcp://127.0.0.1.example:1"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_endpoint(text)->is_loopback());
  }
}

TEST_CASE("an HTTP address needs a port and takes an empty host for every address") {
  CHECK(parse_http_address("127.0.0.1:9092")->port == 9092);
  CHECK(parse_http_address("[::1]:80")->host == "::1");
  CHECK(parse_http_address(":9092")->host == "*");
  for (std::string_view text : {"9092", "http://127.0.0.1:9092", "127.0.0.1", "127.0.0.1:x"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_http_address(text));
  }
}

TEST_CASE("the runtime directory follows XDG_RUNTIME_DIR and stands in for its variable") {
  setenv("XDG_RUNTIME_DIR", "/somewhere", 1);

  CHECK(runtime_directory() == "/somewhere/insight");
  CHECK(parse_endpoint("ipc://{runtime_dir}/bus.ipc")->path == "/somewhere/insight/bus.ipc");

  unsetenv("XDG_RUNTIME_DIR");
  CHECK(runtime_directory().find("insight") != std::string::npos);
}
