// SPDX-License-Identifier: Apache-2.0
#include "bus/collectors/zmq_collector.hpp"

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bus/base/file.hpp"
#include "bus/transport/context.hpp"
#include "bus/transport/push_socket.hpp"
#include "tests/unit/collectors/messages.hpp"
#include "tests/unit/collectors/raw_peer.hpp"

namespace insight {
namespace {

using namespace std::chrono_literals;

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    char path[] = "/tmp/insight-collector-XXXXXX";
    path_ = mkdtemp(path);
  }

  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }

  std::string operator/(const char* name) const { return path_ + "/" + name; }

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

template <typename Done>
bool until(Done done) {
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

Endpoint endpoint(std::string_view text) { return parse_endpoint(text).value(); }

const std::string kDepth = family_of("depth", Kind::gauge);

/// A collector that runs.
class Running {
 public:
  explicit Running(std::vector<Endpoint> endpoints, std::string state_directory = {})
      : collector({.name = "bus",
                   .endpoints = std::move(endpoints),
                   .state_directory = std::move(state_directory)},
                  std::make_shared<SeriesIds>(), Logger::none()) {
    collector.open();
    bound = collector.stats().endpoints;
    thread_ = std::jthread([this](const std::stop_token& stop) { collector.run(received, stop); });
  }

  void stop() {
    thread_.request_stop();
    thread_.join();
  }

  uint16_t port(size_t which = 0) const { return endpoint(bound.at(which)).port; }

  uint64_t refused(Reason reason) const {
    return collector.stats().envelopes_refused[static_cast<size_t>(reason)];
  }

  size_t points() {
    for (const auto& batch : received.take()) points_ += batch->points.size();
    return points_;
  }

  ZmqCollector collector;
  Received received;
  std::vector<std::string> bound;

 private:
  size_t points_ = 0;
  std::jthread thread_;
};

/// A publisher with a socket; sends until accepted.
class Sender {
 public:
  Sender(uint64_t n, std::string_view where) : publisher(n), socket_(context_, endpoint(where)) {
    socket_.set_linger(5s);
  }

  bool send(const std::string& message) {
    return until([&] {
      if (socket_.send(message) == transport::SendResult::accepted) return true;
      return false;
    });
  }

  bool send_point(double value) { return send(publisher.point(kDepth, labels_of({}), value)); }

  TestPublisher publisher;

 private:
  transport::Context context_;
  transport::PushSocket socket_;
};

std::string open_error(std::vector<Endpoint> endpoints) {
  ZmqCollector collector({.name = "bus", .endpoints = std::move(endpoints)},
                         std::make_shared<SeriesIds>(), Logger::none());
  try {
    collector.open();
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return {};
}

TEST_CASE("points come in over tcp, IPv6 and ipc at once") {
  TemporaryDirectory directory;
  Running running({endpoint("tcp://127.0.0.1:0"), endpoint("tcp://[::1]:0"),
                   endpoint("ipc://" + (directory / "new/bus.ipc"))});
  CHECK(std::filesystem::status(directory / "new").permissions() ==
        std::filesystem::perms::owner_all);

  uint64_t n = 0;
  for (const std::string& where : running.bound) {
    Sender sender(++n, where);
    for (int i = 0; i < 100; ++i) REQUIRE(sender.send_point(i));
    // libzmq 4.3.4 drops what an ipc peer has sent when it closes while the receiver's queue is
    // full.
    CHECK(until([&] { return running.points() == 100 * n; }));
  }

  const CollectorStats stats = running.collector.stats();
  CHECK(stats.type == "zmq");
  CHECK(stats.is_open);
  CHECK(stats.envelopes[0] == 300);
  CHECK(stats.records[0] == 300);
  CHECK(stats.publishers == std::array<uint64_t, 4>{3, 0, 0, 0});
  running.stop();
  CHECK_FALSE(running.collector.stats().is_open);
}

TEST_CASE("what was sent before a stop is still read, and a stop is quick") {
  for (int round = 0; round < 5; ++round) {
    Running running({endpoint("tcp://127.0.0.1:0")});
    {
      Sender sender(1, running.bound[0]);
      for (int i = 0; i < 200; ++i) REQUIRE(sender.send_point(i));
    }  // waits until libzmq has handed everything to the kernel
    const auto start = std::chrono::steady_clock::now();

    running.stop();

    CHECK(std::chrono::steady_clock::now() - start < 2s);
    CHECK(running.points() == 200);
  }
}

TEST_CASE("an endpoint that others can reach is refused unless it is allowed") {
  const std::string error = open_error({endpoint("tcp://0.0.0.0:0")});

  CHECK(error.find("tcp://0.0.0.0") != std::string::npos);
  CHECK(error.find("insecure = true") != std::string::npos);
  CHECK(error.find("[collectors.bus]") != std::string::npos);
}

TEST_CASE("a port in use is an error that names its holder") {
  Running running({endpoint("tcp://127.0.0.1:0")});

  const std::string error = open_error({endpoint(running.bound[0])});

  CHECK(error.find(running.bound[0]) != std::string::npos);
  CHECK(error.find("in use by pid " + std::to_string(getpid())) != std::string::npos);
}

TEST_CASE("an ipc path in use is an error that names its holder and leaves the holder alone") {
  TemporaryDirectory directory;
  const Endpoint ipc = endpoint("ipc://" + (directory / "bus.ipc"));
  Running running({ipc});

  const std::string error = open_error({ipc});

  CHECK(error.find("in use by pid " + std::to_string(getpid())) != std::string::npos);
  Sender sender(1, running.bound[0]);
  REQUIRE(sender.send_point(1));
  CHECK(until([&] { return running.points() == 1; }));
}

TEST_CASE("the socket file of a dead broker is replaced, any other file is not") {
  TemporaryDirectory directory;
  const std::string path = directory / "bus.ipc";
  {
    const UniqueFd dead(socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    REQUIRE(bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  }
  {
    Running running({endpoint("ipc://" + path)});
    Sender sender(1, running.bound[0]);
    REQUIRE(sender.send_point(1));
    CHECK(until([&] { return running.points() == 1; }));
    running.stop();
    CHECK_FALSE(std::filesystem::exists(path));
  }
  std::ofstream(path) << "precious";

  CHECK(open_error({endpoint("ipc://" + path)}).find("is not a socket") != std::string::npos);

  CHECK(read_file(path).value() == "precious");
}

TEST_CASE("the ledger goes on after a restart") {
  TemporaryDirectory directory;
  TestPublisher publisher(1);
  const std::string first = publisher.point(kDepth, labels_of({}), 1);
  {
    Running running({endpoint("tcp://127.0.0.1:0")}, directory.path());
    Sender sender(1, running.bound[0]);
    REQUIRE(sender.send(first));
    CHECK(until([&] { return running.points() == 1; }));
    running.stop();
  }

  Running running({endpoint("tcp://127.0.0.1:0")}, directory.path());
  CHECK(running.collector.stats().publishers == std::array<uint64_t, 4>{0, 1, 0, 0});
  Sender sender(1, running.bound[0]);
  REQUIRE(sender.send(first));

  CHECK(until([&] { return running.refused(Reason::duplicate) == 1; }));
  CHECK(running.collector.stats().publishers == std::array<uint64_t, 4>{1, 0, 0, 0});
}

TEST_CASE("a ledger that cannot be read is put aside and the start goes on") {
  TemporaryDirectory directory;
  const std::string path = directory / "ledger-bus.snapshot";
  std::ofstream(path) << "not a ledger";

  Running running({endpoint("tcp://127.0.0.1:0")}, directory.path());

  CHECK(read_file(path + ".unreadable").value() == "not a ledger");
  running.stop();
  CHECK(read_file(path));
}

TEST_CASE("a state directory that cannot be written is survived") {
  Running running({endpoint("tcp://127.0.0.1:0")}, "/proc/nowhere");
  Sender sender(1, running.bound[0]);
  REQUIRE(sender.send_point(1));

  CHECK(until([&] { return running.points() == 1; }));
  CHECK(running.collector.stats().problem.starts_with("the ledger is not saved"));
}

TEST_CASE("hostile peers cost themselves and leave an honest publisher alone") {
  Running running({endpoint("tcp://127.0.0.1:0")});
  Sender honest(1, running.bound[0]);
  Sender hostile(2, running.bound[0]);
  std::mt19937_64 random(42);
  const std::string good = hostile.publisher.point(kDepth, labels_of({}), 1);
  int sent = 0;
  for (int round = 0; round < 50; ++round) {
    REQUIRE(honest.send_point(++sent));
    REQUIRE(hostile.send("not an envelope"));
    REQUIRE(hostile.send(std::string((1 << 20) + 1, 'x')));
    std::string changed = good;
    for (int i = 0; i < 4; ++i) changed[random() % changed.size()] = static_cast<char>(random());
    REQUIRE(hostile.send(changed));

    RawPeer noise(running.port());
    std::string bytes(2'000, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    noise.send(bytes);
    RawPeer parts(running.port());
    parts.greet();
    parts.frame("one", true);
    parts.frame("two", true);
    parts.frame("three", false);
    RawPeer huge(running.port());
    huge.greet();
    huge.send(std::string("\x02\x00\x00\x00\x01\x00\x00\x00\x00", 9));  // a frame of 4 GiB
    REQUIRE(honest.send_point(++sent));
  }

  // Noise may be read as frames of the first ZMTP, which has no greeting.
  CHECK(until([&] {
    return running.refused(Reason::multipart) >= 50 && running.refused(Reason::too_large) >= 50;
  }));
  CHECK(until([&] {
    for (const PublisherView& view : running.collector.publishers(SIZE_MAX)) {
      if (view.incarnation->id == test_id(1)) return view.points == 100 && view.gaps == 0;
    }
    return false;
  }));
  // Every frame of a message of several is counted.
  CHECK(running.collector.stats().refused_bytes >= 50 * (11 + (1 << 20)));
}

uint64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * 4'096;
}

TEST_CASE("a peer that never completes a message is cut before it fills the memory") {
  Running running({endpoint("tcp://127.0.0.1:0")});
  Sender honest(1, running.bound[0]);
  const uint64_t before = resident_bytes();
  std::jthread hog([port = running.port()] {
    RawPeer peer(port);
    peer.greet();
    std::string frames;
    for (int i = 0; i < 300; ++i) frames += "\x01\xff" + std::string(255, 'x');
    while (peer.send(frames)) {
    }
  });

  int sent = 0;
  CHECK(until([&] {
    honest.send_point(++sent);
    return running.refused(Reason::too_large) == 1;
  }));
  hog.join();

  CHECK(resident_bytes() < before + 600'000'000);
  CHECK(until([&] { return running.points() == static_cast<size_t>(sent); }));
}

TEST_CASE("large messages of an honest peer are never taken for one without end") {
  Running running({endpoint("tcp://127.0.0.1:0")});
  Sender sender(1, running.bound[0]);
  const std::string large(3 << 20, 'x');

  for (int i = 0; i < 60; ++i) REQUIRE(sender.send(large));

  CHECK(until([&] { return running.refused(Reason::too_large) == 60; }));
  REQUIRE(sender.send_point(1));
  CHECK(until([&] { return running.points() == 1; }));
  CHECK(running.refused(Reason::too_large) == 60);
}

}  // namespace
}  // namespace insight
