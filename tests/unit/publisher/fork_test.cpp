// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <iostream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/publisher/receiver.hpp"
#include <insight/insight.hpp>

namespace {

bool is_child = false;

}  // namespace

// LeakSanitizer asks this before it looks: in a forked child it takes what only the parent's other
// threads refer to for lost.
// NOLINTNEXTLINE(bugprone-reserved-identifier,readability-identifier-naming)
extern "C" int __lsan_is_turned_off() { return is_child ? 1 : 0; }

// ThreadSanitizer refuses threads after a fork unless it is told that this is meant.
// NOLINTNEXTLINE(bugprone-reserved-identifier,readability-identifier-naming)
extern "C" const char* __tsan_default_options() { return "die_after_fork=0"; }

namespace insight {
namespace {

using namespace std::chrono_literals;

PublisherOptions options(const Receiver& receiver) {
  return {.service = "test", .endpoint = receiver.endpoint(), .flush_interval = 20ms};
}

// Runs `work` in a child that ends by exit(): its exit handlers run, the destructors of this stack
// do not.
template <typename Work>
pid_t in_child(Work work) {
  std::cout.flush();  // else the child would print it again
  const pid_t pid = fork();
  if (pid == 0) {
    is_child = true;
    work();
    std::exit(0);
  }
  return pid;
}

int wait_for(pid_t pid) {
  int status = 0;
  return waitpid(pid, &status, 0) == pid ? status : -1;
}

TEST_CASE(
    "children go on counting by the handles that they inherited, as publishers of their own") {
  Receiver receiver;
  Publisher publisher(options(receiver));
  Counter counter = publisher.counter("a_total");
  Histogram histogram = publisher.histogram("took", {1});
  Gauge gauge = publisher.gauge("g");
  counter.add(1'000);
  histogram.observe(2);
  gauge.set(5);
  publisher.span("parent");

  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    children.push_back(in_child([&] {
      counter.add(10);
      histogram.observe(0.5);
      publisher.span("child");
    }));
  }
  for (pid_t child : children) CHECK(wait_for(child) == 0);
  REQUIRE(receiver.close_and_hear(publisher, 5));
  CHECK(receiver.total("a_total{}") == 1'040);
  CHECK(receiver.total("took{}") == 5);
  CHECK(receiver.publishers.size() == 5);
  std::set<std::string> ids;
  size_t spans = 0;
  size_t gauges = 0;
  for (const auto& [inc, seen] : receiver.publishers) {
    CHECK(seen.is_in_order);
    ids.insert(seen.span_ids.begin(), seen.span_ids.end());
    spans += seen.span_ids.size();
    gauges += seen.values.contains("g{}") ? 1 : 0;
  }
  CHECK(spans == 5);
  CHECK(ids.size() == 5);
  CHECK(gauges == 1);  // a value that the child has not set is the parent's alone
}

TEST_CASE("a child that records nothing says nothing and ends at once") {
  Receiver receiver;
  Publisher publisher(options(receiver));
  publisher.counter("a_total").add(1);

  CHECK(wait_for(in_child([] {})) == 0);
  REQUIRE(receiver.close_and_hear(publisher));
  receiver.drain();
  CHECK(receiver.publishers.size() == 1);
}

TEST_CASE("a child whose first deed is a gauge is heard") {
  Receiver receiver;
  Publisher publisher(options(receiver));
  Gauge gauge = publisher.gauge("g");
  gauge.set(1);

  CHECK(wait_for(in_child([&] { gauge.add(2); })) == 0);
  REQUIRE(receiver.close_and_hear(publisher, 2));
  CHECK(receiver.total("g{}") == 3);
}

TEST_CASE("a child of a child counts too, and threads of a child") {
  Receiver receiver;
  Publisher publisher(options(receiver));
  Counter counter = publisher.counter("a_total");
  counter.add(1);

  const pid_t child = in_child([&] {
    counter.add(10);
    const pid_t grandchild = in_child([&] {
      std::thread([&] { counter.add(100); }).join();
      counter.add(1'000);
    });
    wait_for(grandchild);
  });
  CHECK(wait_for(child) == 0);
  REQUIRE(receiver.close_and_hear(publisher, 3));
  CHECK(receiver.total("a_total{}") == 1'111);
}

TEST_CASE("a span that is open at the fork is recorded by the parent alone") {
  Receiver receiver;
  Publisher publisher(options(receiver));
  Counter counter = publisher.counter("a_total");
  ActiveSpan span = publisher.span("open");

  CHECK(wait_for(in_child([&] {
          counter.add(1);
          span.end();
        })) == 0);
  span.end();
  REQUIRE(receiver.close_and_hear(publisher, 2));
  size_t spans = 0;
  for (const auto& [inc, seen] : receiver.publishers) spans += seen.spans.size();
  CHECK(spans == 1);
}

TEST_CASE("a state that is open at the fork is the parent's, and nothing is current in the child") {
  Receiver receiver;
  Publisher publisher(options(receiver));
  const Histogram histogram = publisher.histogram("took", {1});
  ActiveSpan state = publisher.state("state");
  histogram.observe(1);

  CHECK(wait_for(in_child([&] {
          histogram.observe(2);
          if (SpanScope::current()) std::exit(1);
          const ActiveSpan span = publisher.span("child");
          histogram.observe(3);
          state.end();
        })) == 0);
  state.end();
  REQUIRE(receiver.close_and_hear(publisher, 2));
  CHECK(receiver.total("took{}") == 3);
  for (const auto& [inc, seen] : receiver.publishers) {
    const bool is_parent = seen.values.at("took{}") == 1;
    for (const auto& record : seen.records) {
      CHECK((record.name == "state") == is_parent);
      if (record.name == "child") CHECK(record.parent_id.empty());
    }
    const auto& exemplars = seen.exemplars.at("took{}");
    CHECK(exemplars.back().value == (is_parent ? 1 : 3));
    CHECK(seen.accounts.at("spans") == seen.records.size());
  }
}

TEST_CASE("forking while threads record harms nobody") {
  Receiver receiver;
  Publisher publisher(options(receiver));
  Counter counter = publisher.counter("a_total");
  std::atomic<bool> stop{false};
  std::atomic<int> added{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; !stop; ++i) {
        counter.add(1);
        counter.with({{"i", std::to_string(i % 50)}}).add(0);
        publisher.span("s");
        ++added;
      }
    });
  }

  constexpr int kChildren = 20;
  for (int i = 0; i < kChildren; ++i) CHECK(wait_for(in_child([&] { counter.add(1); })) == 0);
  stop = true;
  for (std::thread& thread : threads) thread.join();

  CHECK(receiver.close_and_hear(publisher, kChildren + 1));
  CHECK(receiver.total("a_total{}") == added + kChildren);
}

TEST_CASE("a publisher destroyed in a child leaves the parent's connection alone") {
  Receiver receiver;
  auto publisher = std::make_unique<Publisher>(options(receiver));
  Counter counter = publisher->counter("a_total");
  counter.add(1);
  REQUIRE(receiver.until([&] { return receiver.total("a_total{}") == 1; }));

  CHECK(wait_for(in_child([&] { publisher.reset(); })) == 0);
  CHECK(wait_for(in_child([&] {
          counter.add(5);
          publisher.reset();
        })) == 0);
  counter.add(1);

  CHECK(receiver.until([&] { return receiver.total("a_total{}") == 7; }));
  CHECK(receiver.publishers.size() == 2);
}

}  // namespace
}  // namespace insight
