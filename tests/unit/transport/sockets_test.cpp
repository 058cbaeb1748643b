// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cstdlib>
#include <optional>
#include <string>

#include <doctest/doctest.h>
#include <unistd.h>

#include "bus/transport/pull_socket.hpp"
#include "bus/transport/push_socket.hpp"

namespace insight::transport {
namespace {

using namespace std::chrono_literals;

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    char path[] = "/tmp/insight-transport-XXXXXX";
    path_ = mkdtemp(path);
  }

  ~TemporaryDirectory() {
    unlink(socket().c_str());
    rmdir(path_.c_str());
  }

  std::string socket() const { return path_ + "/bus.ipc"; }

 private:
  std::string path_;
};

Endpoint tcp(const char* host, uint16_t port = 0) {
  Endpoint endpoint;
  endpoint.host = host;
  endpoint.port = port;
  return endpoint;
}

Endpoint ipc(const std::string& path) {
  Endpoint endpoint;
  endpoint.kind = Endpoint::Kind::ipc;
  endpoint.path = path;
  return endpoint;
}

// Calls `step` until `done` or for ten seconds.
template <typename Done, typename Step>
bool until(Done done, Step step) {
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    step();
  }
  return true;
}

std::optional<std::string> receive_one(PullSocket& pull) {
  std::optional<std::string> text;
  until([&] { return text.has_value(); },
        [&] {
          if (!pull.wait(100ms)) return;
          if (auto frame = pull.receive()) text = std::string(frame->bytes);
        });
  return text;
}

TEST_CASE("one PULL takes messages from tcp, IPv6 and ipc endpoints") {
  TemporaryDirectory directory;
  Context context;
  PullSocket pull(context);
  auto v4 = pull.bind(tcp("127.0.0.1"));
  auto v6 = pull.bind(tcp("::1"));
  auto local = pull.bind(ipc(directory.socket()));
  REQUIRE(v4);
  REQUIRE(v6);
  REQUIRE(local);
  CHECK(v4->port != 0);

  for (const Endpoint& endpoint : {*v4, *v6, *local}) {
    CAPTURE(endpoint.text());
    PushSocket push(context, endpoint);
    CHECK_FALSE(push.is_connected());
    CHECK(until([&] { return push.is_connected(); }, [&] { push.wait(100ms); }));
    CHECK(push.send(endpoint.text()) == SendResult::accepted);
    CHECK(receive_one(pull) == endpoint.text());
  }
  CHECK(until([&] { return pull.stats().closed == 3; }, [&] { pull.wait(100ms); }));
  CHECK(pull.stats().accepted == 3);
}

TEST_CASE("a port in use is an error, not a throw") {
  Context context;
  PullSocket first(context);
  auto bound = first.bind(tcp("127.0.0.1"));
  REQUIRE(bound);

  PullSocket second(context);
  auto refused = second.bind(*bound);

  REQUIRE_FALSE(refused);
  CHECK(refused.error().message.find("in use") != std::string::npos);
}

TEST_CASE("a publisher sees its broker go and come back, and the message kept meanwhile arrives") {
  TemporaryDirectory directory;
  Context context;
  std::optional<PullSocket> pull(std::in_place, context);
  REQUIRE(pull->bind(ipc(directory.socket())));
  PushSocket push(context, ipc(directory.socket()));
  REQUIRE(until([&] { return push.is_connected(); }, [&] { push.wait(100ms); }));

  pull.reset();
  CHECK(until([&] { return !push.is_connected(); }, [&] { push.wait(100ms); }));
  CHECK(push.send("kept") == SendResult::accepted);
  pull.emplace(context);
  REQUIRE(pull->bind(ipc(directory.socket())));

  CHECK(until([&] { return push.is_connected(); }, [&] { push.wait(100ms); }));
  CHECK(push.connects() == 2);
  CHECK_FALSE(push.is_broken());
  CHECK(receive_one(*pull) == "kept");
}

TEST_CASE("without a listener at most eight messages are taken, and none blocks") {
  TemporaryDirectory directory;
  Context context;
  PushSocket push(context, ipc(directory.socket()));

  int accepted = 0;
  while (accepted < 100 && push.send("x") == SendResult::accepted) ++accepted;

  CHECK(accepted == 8);
  CHECK(push.send("x") == SendResult::again);
  CHECK_FALSE(push.has_room());
  CHECK(until([&] { return push.failures() >= 2; }, [&] { push.wait(100ms); }));
}

}  // namespace
}  // namespace insight::transport
