// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <chrono>
#include <cmath>
#include <thread>

#include <doctest/doctest.h>

#include "bus/base/clock.hpp"
#include "bus/transport/context.hpp"
#include "bus/transport/pull_socket.hpp"
#include "bus/wire/decoder.hpp"
#include "cli/bench_report.hpp"

namespace insight::cli {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

/// As it comes from a broker: through text.
json status(uint64_t received, uint64_t delivered) {
  const json made{
      {"started", "2026-01-31T12:00:00.000Z"},
      {"pid", 7},
      {"uptime_seconds", 5.0},
      {"cpu_seconds", 1.5},
      {"collectors",
       {{{"records", {{"metrics", received}, {"spans", 0}}}, {"dropped", {{"cardinality", 2}}}}}},
      {"sinks",
       {{{"name", "null"},
         {"received", {{"metrics", received - 2}, {"spans", 0}}},
         {"delivered", {{"metrics", delivered}, {"spans", 0}}},
         {"dropped",
          {{"metrics", {{"queue_full", 3}, {"rejected", 4}}}, {"spans", json::object()}}},
         {"queue_records", {{"metrics", 1}, {"spans", 0}}},
         {"delivery_latency",
          {{"metrics",
            {{"buckets", {{{"le", 0.01}, {"count", 98}}, {{"le", nullptr}, {"count", 2}}}}}}}}}}}};
  return json::parse(made.dump());
}

/// Counts what arrives; stands in for a broker.
struct Receiver {
  Receiver() = default;
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;

  uint64_t envelopes = 0, records = 0, byes = 0;
  transport::Context context;
  transport::PullSocket socket{context};
  Endpoint endpoint = socket
                          .bind([] {
                            Endpoint any;
                            any.host = "127.0.0.1";
                            return any;
                          }())
                          .value();
  std::atomic<bool> stop{false};
  std::jthread thread{[this] { run(); }};

  ~Receiver() { stop = true; }

  void run() {
    wire::Decoder decoder;
    while (!stop.load(std::memory_order_relaxed)) {
      socket.wait(10ms);
      while (const auto message = socket.receive()) {
        const auto envelope = decoder.decode(message->bytes, wall_now_ns());
        if (!envelope) continue;
        ++envelopes;
        records += (*envelope)->points.size() + (*envelope)->spans.size();
        if ((*envelope)->life == wire::LifeEvent::bye && ++byes == 2) return;
      }
    }
  }
};

}  // namespace

TEST_CASE("counts are read by place, and an answer of another version is an error") {
  const auto counts = bus_counts(status(100, 90));

  REQUIRE(counts);
  CHECK(counts->all_received() == 100);
  CHECK(counts->dropped_at_ingress == 2);
  REQUIRE(counts->sinks.size() == 1);
  CHECK(counts->sinks[0].delivered == 90);
  CHECK(counts->sinks[0].dropped_in_queue == 3);
  CHECK(counts->sinks[0].dropped_by_sink == 4);
  CHECK(counts->sinks[0].waiting == 1);
  for (const char* missing : {"started", "cpu_seconds", "collectors", "sinks"}) {
    json less = status(100, 90);
    less.erase(missing);
    CHECK_FALSE(bus_counts(less));
  }
  CHECK_FALSE(bus_counts(json()));
  CHECK_FALSE(bus_counts(json::array()));
}

TEST_CASE("counts of another life of the broker, or that have fallen, are not compared") {
  const BusCounts before = bus_counts(status(100, 90)).value();
  CHECK(cannot_compare(before, bus_counts(status(120, 100)).value()).empty());
  CHECK_FALSE(cannot_compare(before, bus_counts(status(99, 90)).value()).empty());
  CHECK_FALSE(cannot_compare(before, bus_counts(status(120, 89)).value()).empty());
  json restarted = status(200, 200);
  restarted["pid"] = 8;
  CHECK_FALSE(cannot_compare(before, bus_counts(restarted).value()).empty());
}

TEST_CASE("a quantile is known between two bounds of the bus") {
  const auto counts = bus_counts(status(100, 90)).value().sinks[0].latencies;

  CHECK(quantile(counts, 0.5).from == 0.005);
  CHECK(quantile(counts, 0.5).to == 0.01);
  CHECK(std::isinf(quantile(counts, 0.99).to));
  CHECK(quantile(counts, 0.99).from == 100);
  CHECK(std::isnan(quantile({}, 0.5).to));
}

TEST_CASE("losses by place add up, and what is missing is told") {
  Measurement m{.rate = 100, .seconds = 1};
  m.before = bus_counts(status(100, 90)).value();
  m.after = bus_counts(status(140, 130)).value();
  m.load = {.recorded = 35, .dropped = 5, .sent = 30};
  m.received = {.records = 30};

  CHECK(m.others() == 10);
  CHECK(m.adds_up());
  m.load.sent = 31;
  m.load.recorded = 36;
  CHECK_FALSE(m.adds_up());
  CHECK(m.balances()[0].unexplained == 1);
  m.received.missing_envelopes = 1;
  CHECK(m.lost_in_transport() == 1);
  CHECK(m.adds_up());
}

TEST_CASE("shares of a mix are checked") {
  CHECK(parse_mix("counter=3,span")->counter == 3);
  CHECK(parse_mix("counter=3,span")->span == 1);
  CHECK(parse_mix("counter=3,span")->gauge == 0);
  for (const char* wrong :
       {"", "counter=0", "counter=", "counter=-1", "counter=1001", "cuonter=1", "=1", "span=1,,"}) {
    CHECK_FALSE(parse_mix(wrong));
  }
}

TEST_CASE("publishers send what they count, each record once, and say bye") {
  Receiver receiver;
  Load load(receiver.endpoint, 2, parse_mix("counter=2,gauge=1,histogram=1,span=1").value());
  std::atomic<bool> stop{false};

  REQUIRE(load.connect(mono_now_ns() + 30 * kSecond));
  load.run(20'000, 200 * kMillisecond, stop);
  load.finish();
  receiver.thread.join();

  const LoadCounts counts = load.counts();
  CHECK(counts.recorded == counts.sent + counts.dropped);
  CHECK(counts.sent > 0);
  CHECK(receiver.records == counts.sent);
  CHECK(receiver.envelopes == counts.envelopes);
  CHECK(receiver.byes == 2);
}

TEST_CASE("without a reader records are dropped and counted, and a stop ends a load") {
  Endpoint nobody;
  nobody.host = "127.0.0.1";
  nobody.port = 1;
  Load load(nobody, 1, {});
  CHECK_FALSE(load.connect(mono_now_ns() + 50 * kMillisecond));
  std::atomic<bool> stop{false};
  load.run(1e6, 50 * kMillisecond, stop);

  CHECK(load.counts().dropped > 0);
  CHECK(load.counts().recorded == load.counts().sent + load.counts().dropped);
  stop = true;
  load.run(1e6, 3'600 * kSecond, stop);
}

}  // namespace insight::cli
