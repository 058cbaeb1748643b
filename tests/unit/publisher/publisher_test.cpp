// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <limits>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "tests/unit/publisher/receiver.hpp"
#include <insight/insight.hpp>

namespace insight {
namespace {

using namespace std::chrono_literals;

PublisherOptions options(const Receiver& receiver) {
  return {.service = "test", .endpoint = receiver.endpoint(), .flush_interval = 20ms};
}

uint64_t drops(const PublisherStatus& status, const std::string& reason) {
  for (const auto& [name, count] : status.drops) {
    if (name == reason) return count;
  }
  return 0;
}

TEST_CASE("values of every kind arrive, hello comes first and bye last") {
  Receiver receiver;
  {
    Publisher publisher(options(receiver));
    Counter counter = publisher.counter("a_total", "As", {{"model", "x"}});
    Gauge gauge = publisher.gauge("depth");
    Histogram histogram = publisher.histogram("took", {1, 10});
    counter.add();
    counter.add(2.5);
    counter.with({{"model", "y"}}).add(7);
    gauge.set(5);
    gauge.add(-2);
    for (double value : {0.5, 1.0, 1.5, 10.0, 11.0}) histogram.observe(value);
    publisher.progress("loop", 5s);
    receiver.until(
        [&] { return receiver.publishers.size() == 1 && receiver.one().values.size() >= 6; });
  }
  REQUIRE(receiver.until([&] { return receiver.ended() == 1; }));

  Receiver::Publisher& seen = receiver.one();
  CHECK(seen.values["a_total{x}"] == 3.5);
  CHECK(seen.values["a_total{y}"] == 7);
  CHECK(seen.values["depth{}"] == 3);
  CHECK(seen.values["took{}"] == 5);
  CHECK(seen.buckets["took{}"] == std::vector<uint64_t>{2, 2, 1});
  CHECK(seen.histograms["took{}"].sum == doctest::Approx(24.0));
  CHECK(seen.values["insight_progress_period_seconds{loop}"] == 5);
  CHECK(seen.values["insight_progress_timestamp_seconds{loop}"] > 1e9);
  CHECK(seen.life.front() == wire::LifeEvent::hello);
  CHECK(seen.life.back() == wire::LifeEvent::bye);
  CHECK(seen.is_in_order);
  CHECK(receiver.refused == 0);
}

TEST_CASE("values that are none are counted and change nothing") {
  Receiver receiver;
  Publisher publisher(options(receiver));
  Counter counter = publisher.counter("a_total");
  Histogram histogram = publisher.histogram("took", {1});
  counter.add(1);
  histogram.observe(1);

  counter.add(-1);
  counter.add(std::nan(""));
  counter.add(std::numeric_limits<double>::infinity());
  histogram.observe(std::nan(""));
  histogram.observe(-std::numeric_limits<double>::infinity());

  CHECK(drops(publisher.status(), "bad_value") == 5);
  REQUIRE(receiver.close_and_hear(publisher));
  CHECK(receiver.one().values["a_total{}"] == 1);
  CHECK(receiver.one().values["took{}"] == 1);
  CHECK(receiver.one().accounts["drop.bad_value"] == 5);
}

TEST_CASE("handles that are inert do nothing, whatever is asked of them") {
  Counter counter;
  Gauge gauge;
  Histogram histogram;
  ActiveSpan span;

  counter.add(1);
  counter.with({{"a", "b"}}).add(-1);
  gauge.set(1);
  gauge.add(1);
  gauge.with({}).set(2);
  histogram.observe(1);
  histogram.with({}).observe(std::nan(""));
  span.attribute("a", 1);
  span.fail();
  span.end();

  CHECK_FALSE(counter);
  CHECK(span.context().span_id == SpanContext{}.span_id);
}

TEST_CASE("INSIGHT_DISABLED makes a publisher inert") {
  setenv("INSIGHT_DISABLED", "1", 1);
  Publisher publisher({.endpoint = "ipc:///nowhere"});
  unsetenv("INSIGHT_DISABLED");

  CHECK_FALSE(publisher.counter("a_total"));
  CHECK_FALSE(publisher.gauge("g"));
  publisher.span("s").attribute("a", true);
  publisher.progress("loop", 1s);
  publisher.close(1s);
  CHECK(publisher.status().series == 0);
}

TEST_CASE("handles and spans outlive their publisher") {
  Receiver receiver;
  Counter counter;
  ActiveSpan span;
  {
    Publisher publisher(options(receiver));
    counter = publisher.counter("a_total");
    span = publisher.span("late");
    counter.add(1);
  }

  counter.add(1);
  CHECK_FALSE(counter.with({{"a", "b"}}));
  std::thread([&] { counter.add(1); }).join();
  span.end();

  REQUIRE(receiver.until([&] { return receiver.ended() == 1; }));
  CHECK(receiver.one().values["a_total{}"] == 1);
}

TEST_CASE("adds of many short threads are all counted") {
  Receiver receiver;
  Publisher publisher(options(receiver));
  Counter counter = publisher.counter("a_total");
  Histogram histogram = publisher.histogram("took_seconds");

  for (int round = 0; round < 50; ++round) {
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 100; ++i) counter.add(1);
        histogram.observe(0.1);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  REQUIRE(receiver.close_and_hear(publisher));
  CHECK(receiver.one().values["a_total{}"] == 40'000);
  CHECK(receiver.one().values["took_seconds{}"] == 400);
}

TEST_CASE("a counter never falls while threads add, end and are flushed") {
  Receiver receiver;
  Publisher publisher(options(receiver));
  Counter counter = publisher.counter("a_total");
  std::atomic<bool> stop{false};
  std::vector<std::thread> adders;
  for (int t = 0; t < 2; ++t) {
    adders.emplace_back([&] {
      while (!stop) {
        std::thread([&] {
          for (int i = 0; i < 1'000; ++i) counter.add(1);
        }).join();
      }
    });
  }

  double last = 0;
  bool fell = false;
  receiver.until([&] {
    const double now = receiver.total("a_total{}");
    fell = fell || now < last;
    last = now;
    return !receiver.publishers.empty() && receiver.one().envelopes >= 20;
  });
  stop = true;
  for (std::thread& adder : adders) adder.join();

  CHECK_FALSE(fell);
  CHECK(last > 0);
}

TEST_CASE(
    "a total made of fractions does not fall when a thread ends and the order of sums changes") {
  Receiver receiver;
  Publisher publisher(options(receiver));
  const Counter counter = publisher.counter("a_total");
  const Histogram histogram = publisher.histogram("took", {1});
  const Counter other = publisher.counter("b_total");
  // (0.1 + 0.2) + 0.3 is one rounding step more than (0.3 + 0.2) + 0.1.
  std::array<std::promise<void>, 3> ends;
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 3; ++t) {
    std::promise<void> added;
    threads.emplace_back([&, t] {
      counter.add(static_cast<double>(t + 1) / 10);
      histogram.observe(static_cast<double>(t + 1) / 10);
      added.set_value();
      ends[t].get_future().wait();
    });
    added.get_future().wait();
  }
  REQUIRE(receiver.until([&] { return receiver.total("took{}") == 3; }));
  const double before = receiver.total("a_total{}");
  const double sum_before = receiver.one().histograms["took{}"].sum;
  REQUIRE(before > 0.3 + 0.2 + 0.1);

  for (size_t t : {2, 1, 0}) {
    ends[t].set_value();
    threads[t].join();
  }
  other.add(1);
  REQUIRE(receiver.until([&] { return receiver.total("b_total{}") == 1; }));

  CHECK(receiver.total("a_total{}") == before);
  CHECK(receiver.one().histograms["took{}"].sum == sum_before);
}

TEST_CASE("a total that reaches infinity stays at the largest finite number") {
  Receiver receiver;
  Publisher publisher(options(receiver));
  const Counter counter = publisher.counter("a_total");
  const Histogram up = publisher.histogram("up", {1});
  const Histogram both = publisher.histogram("both", {1});
  for (int i = 0; i < 3; ++i) {
    counter.add(1e308);
    up.observe(1e308);
    both.observe(1e308);
  }
  std::thread([&] {
    for (int i = 0; i < 3; ++i) both.observe(-1e308);
    counter.add(1e308);
  }).join();
  REQUIRE(receiver.close_and_hear(publisher));

  CHECK(receiver.refused == 0);
  CHECK(receiver.total("a_total{}") == std::numeric_limits<double>::max());
  CHECK(receiver.one().histograms["up{}"].sum == std::numeric_limits<double>::max());
  CHECK(std::isfinite(receiver.one().histograms["both{}"].sum));
  CHECK(receiver.total("both{}") == 6);
}

TEST_CASE("spans arrive with their attributes; children continue the trace of their parent") {
  Receiver receiver;
  Publisher publisher(options(receiver));
  {
    ActiveSpan parent = publisher.span("step", {.lane = "trainer_0"});
    parent.attribute("step", 10);
    parent.attribute("step", 11);
    parent.attribute("loss", 0.5);
    parent.attribute("model", "qwen");
    parent.attribute("is_last", true);
    ActiveSpan child = publisher.span("decode", {.lane = "replica_0", .parent = parent.context()});
    CHECK(child.context().trace_id == parent.context().trace_id);
    CHECK(child.context().span_id != parent.context().span_id);
  }
  REQUIRE(receiver.close_and_hear(publisher));
  CHECK(receiver.one().spans ==
        std::vector<std::string>{"decode replica_0", "step trainer_0 step loss model is_last"});
  CHECK(receiver.one().accounts["spans"] == 2);
  CHECK(receiver.one().accounts["spans_sent"] == 2);
  CHECK(receiver.refused == 0);
}

TEST_CASE("spans with any text stay valid, what exceeds a limit is cut or counted") {
  Receiver receiver;
  Publisher publisher(options(receiver));
  {
    ActiveSpan span = publisher.span(std::string(1'000, 'n') + "\xff", {.lane = "\xc3"});
    for (int i = 0; i < 100; ++i) span.attribute("key" + std::to_string(i), std::string(900, 'v'));
    span.attribute("", 1);
    span.attribute("key1", std::string(10'000, '\xe4'));
  }
  {
    ActiveSpan span = publisher.span("long");
    for (int i = 0; i < 60; ++i) span.attribute("key" + std::to_string(i), std::string(4'000, 'v'));
  }
  REQUIRE(receiver.close_and_hear(publisher));
  CHECK(receiver.refused == 0);
  CHECK(receiver.one().spans.size() == 2);
  // 36 beyond 64, one without a name, and 44 beyond 64 KiB.
  CHECK(receiver.one().accounts["drop.span_attribute"] == 81);
  CHECK(receiver.one().accounts["spans"] == 2);
}

TEST_CASE(
    "without a broker spans wait as far as their ring goes, the newest are dropped and counted") {
  Receiver receiver(Receiver::Start::closed);
  Publisher publisher(options(receiver));

  for (int i = 0; i < 10'000; ++i)
    publisher.span("flood").attribute("payload", std::string(100, 'x'));

  const PublisherStatus status = publisher.status();
  CHECK(status.spans == 10'000);
  CHECK(drops(status, "span_buffer") > 0);
  receiver.open();
  REQUIRE(receiver.until([&] {
    return !receiver.publishers.empty() &&
           receiver.one().spans.size() + drops(status, "span_buffer") == 10'000;
  }));
  REQUIRE(receiver.close_and_hear(publisher));
  CHECK(receiver.one().accounts["spans"] ==
        receiver.one().accounts["spans_sent"] + receiver.one().accounts["drop.span_buffer"]);
  CHECK(receiver.one().accounts["spans_sent"] == receiver.one().spans.size());
}

TEST_CASE("no span is lost or doubled while threads come and go, and every id is new") {
  Receiver receiver;
  Publisher publisher(options(receiver));
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int round = 0; round < 10; ++round) {
        std::thread([&] {
          for (int i = 0; i < 20; ++i) publisher.span("s");
        }).join();
      }
    });
  }
  receiver.until(
      [&] { return !receiver.publishers.empty() && receiver.one().spans.size() == 1'600; });
  for (std::thread& thread : threads) thread.join();
  REQUIRE(receiver.close_and_hear(publisher));
  const std::vector<std::string>& ids = receiver.one().span_ids;
  CHECK(ids.size() == 1'600);
  CHECK(std::set<std::string>(ids.begin(), ids.end()).size() == 1'600);
}

TEST_CASE(
    "after an outage the newest value comes at once, and the numbers of envelopes have no gap") {
  Receiver receiver;
  Publisher publisher(options(receiver));
  Gauge gauge = publisher.gauge("g");
  gauge.set(1);
  REQUIRE(receiver.until([&] { return receiver.total("g{}") == 1; }));

  receiver.close();
  for (int i = 2; i <= 100; ++i) gauge.set(i);
  REQUIRE([&] {
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    while (publisher.status().is_connected && std::chrono::steady_clock::now() < deadline)
      std::this_thread::yield();
    return !publisher.status().is_connected;
  }());
  gauge.set(101);
  receiver.open();

  CHECK(receiver.until([&] { return receiver.total("g{}") == 101; }, 5));
  CHECK(receiver.publishers.size() == 1);
}

TEST_CASE("a series that nobody touches is sent again to a broker that comes later") {
  Receiver receiver;
  Publisher publisher(options(receiver));
  publisher.gauge("g").set(7);
  REQUIRE(receiver.until([&] { return receiver.total("g{}") == 7; }));

  receiver.close();
  receiver.publishers.clear();
  receiver.open();

  CHECK(receiver.until([&] { return receiver.total("g{}") == 7; }, 10));
}

TEST_CASE("a publisher without a broker ends soon, and closing twice is closing once") {
  Receiver receiver(Receiver::Start::closed);
  const auto start = std::chrono::steady_clock::now();
  {
    Publisher publisher(options(receiver));
    publisher.counter("a_total").add(1);
    publisher.close(1s);
    publisher.close(1s);
    CHECK_FALSE(publisher.counter("b_total"));
  }
  CHECK(std::chrono::steady_clock::now() - start < 2s);
}

TEST_CASE("many publishers of one process share its cells and stay apart") {
  Receiver receiver;
  {
    std::vector<Publisher> publishers;
    for (int i = 0; i < 16; ++i) {
      publishers.emplace_back(options(receiver));
      publishers.back().counter("a_total").add(i + 1);
    }
    REQUIRE(receiver.until([&] { return receiver.total("a_total{}") == 136; }));
    publishers.clear();
    REQUIRE(receiver.until([&] { return receiver.ended() == 16; }));
  }
  Publisher another(options(receiver));
  another.counter("a_total").add(1000);

  CHECK(receiver.until([&] { return receiver.total("a_total{}") == 1136; }));
}

TEST_CASE("what the broker has not read yet when a publisher ends is not lost") {
  Receiver receiver;
  PublisherOptions quick = options(receiver);
  quick.flush_interval = 1ms;
  Publisher publisher(quick);
  Counter counter = publisher.counter("a_total");

  // More than the broker's own queue holds, so that the rest lies in the kernel.
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (publisher.status().envelopes_sent < 40 && std::chrono::steady_clock::now() < deadline) {
    counter.add(1);
    std::this_thread::sleep_for(1ms);
  }
  counter.add(1'000'000);

  REQUIRE(receiver.close_and_hear(publisher));
  CHECK(receiver.one().values["a_total{}"] > 1'000'000);
  CHECK(receiver.one().is_in_order);
}

TEST_CASE("the flush thread has a name and takes no signal of the application") {
  Receiver receiver;
  Publisher publisher(options(receiver));
  publisher.counter("a_total").add(1);
  REQUIRE(receiver.until([&] { return receiver.total("a_total{}") == 1; }));

  const auto masks = [] {
    std::set<std::string> found;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      std::string name;
      std::ifstream(task.path() / "comm") >> name;
      if (name != "insight-flush") continue;
      std::ifstream status(task.path() / "status");
      for (std::string line; std::getline(status, line);) {
        if (line.starts_with("SigBlk:")) found.insert(line.substr(8));
      }
    }
    return found;
  };

  // All that can be blocked: not SIGKILL and SIGSTOP, nor the two that the C library keeps to
  // itself.  A thread of the case before may be listed a moment longer, as it ends with all
  // blocked.
  const std::set<std::string> expected{"fffffffe7ffbfeff"};
  receiver.until([&] { return masks() == expected; });
  CHECK(masks() == expected);
}

TEST_CASE("beats come when nothing else does") {
  Receiver receiver;
  PublisherOptions often = options(receiver);
  often.beat_interval = 100ms;
  Publisher publisher(often);

  CHECK(receiver.until([&] {
    return !receiver.publishers.empty() &&
           std::ranges::count(receiver.one().life, wire::LifeEvent::beat) >= 3;
  }));
}

}  // namespace
}  // namespace insight
