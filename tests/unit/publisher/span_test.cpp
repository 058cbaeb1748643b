// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <optional>
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

// Nobody listens: for what needs no broker.
PublisherOptions alone() { return {.service = "test", .endpoint = "ipc:///nonexistent/bus.ipc"}; }

uint64_t drops(const Publisher& publisher, const std::string& reason) {
  for (const auto& [name, count] : publisher.status().drops) {
    if (name == reason) return count;
  }
  return 0;
}

std::vector<SpanWhat> what_came(Receiver& receiver, const std::string& name) {
  std::vector<SpanWhat> result;
  if (receiver.publishers.empty()) return result;
  for (const auto& record : receiver.one().records) {
    if (record.name == name) result.push_back(record.what);
  }
  return result;
}

TEST_CASE("a span may have begun before it was told, and the end says whether all was sent") {
  Receiver receiver;
  Publisher publisher(options(receiver));
  publisher.span("backup", {.ago = 1h}).end();
  CHECK_FALSE(publisher.status().has_said_bye);
  REQUIRE(receiver.close_and_hear(publisher));

  const auto& span = receiver.one().records.at(0);
  CHECK(span.end_ns - span.start_ns >= 3'600 * kSecond);
  CHECK(span.end_ns - span.start_ns < 3'660 * kSecond);
  CHECK(publisher.status().has_said_bye);

  Publisher lonely(alone());
  lonely.close(10ms);
  CHECK_FALSE(lonely.status().has_said_bye);
}

TEST_CASE("a state is seen while it is open, and ends once") {
  Receiver receiver;
  Publisher publisher(options(receiver));
  const SpanContext parent = publisher.span("step").context();
  ActiveSpan state = publisher.state(
      "rollout", {.lane = "trainer_0", .parent = parent, .attributes = {{"step", 10}}});
  REQUIRE(receiver.until([&] { return what_came(receiver, "rollout").size() == 1; }));
  state.attribute("tokens", 4096u);
  state.succeed();
  state.end();
  state.end();
  REQUIRE(receiver.close_and_hear(publisher));

  REQUIRE(what_came(receiver, "rollout") == std::vector{SpanWhat::begin, SpanWhat::end});
  const auto& records = receiver.one().records;
  const auto begin = std::ranges::find(records, SpanWhat::begin, &Receiver::SpanSeen::what);
  const auto end = std::ranges::find(records, SpanWhat::end, &Receiver::SpanSeen::what);
  CHECK(begin->end_ns == 0);
  CHECK(begin->parent_id == Receiver::hex(parent.span_id));
  CHECK(begin->attributes == Receiver::Attributes{{"step", "10"}});
  CHECK(end->span_id == begin->span_id);
  CHECK(end->start_ns == begin->start_ns);
  CHECK(end->end_ns >= end->start_ns);
  CHECK(end->status == SpanStatus::ok);
  CHECK(end->lane == "trainer_0");
  CHECK(end->attributes == Receiver::Attributes{{"step", "10"}, {"tokens", "4096"}});
  CHECK(receiver.one().accounts["spans"] == 3);
  CHECK(receiver.one().accounts["spans_sent"] == 3);
  CHECK(receiver.refused == 0);
}

TEST_CASE("a broker that comes late sees the states that are open, and none that has ended") {
  Receiver receiver;
  Publisher publisher(options(receiver));
  const ActiveSpan open = publisher.state("open", {.attributes = {{"step", 10}}});
  ActiveSpan ended = publisher.state("ended");
  REQUIRE(receiver.until([&] { return what_came(receiver, "ended").size() == 1; }));
  ended.end();
  REQUIRE(receiver.until([&] { return what_came(receiver, "ended").size() == 2; }));

  receiver.close();
  receiver.publishers.clear();
  receiver.open();

  REQUIRE(receiver.until([&] { return !what_came(receiver, "open").empty(); }));
  CHECK(what_came(receiver, "open").front() == SpanWhat::open);
  CHECK(receiver.one().records.front().attributes == Receiver::Attributes{{"step", "10"}});
  CHECK(what_came(receiver, "ended").empty());
}

TEST_CASE("what began and ended while no broker was there is told in its order") {
  Receiver receiver(Receiver::Start::closed);
  Publisher publisher(options(receiver));
  for (int i = 0; i < 5'000; ++i) publisher.state("short");
  const ActiveSpan open = publisher.state("open");
  CHECK(drops(publisher, "state_limit") > 0);
  CHECK(drops(publisher, "span_buffer") == 0);

  receiver.open();
  REQUIRE(receiver.close_and_hear(publisher));

  // Those beyond the limit came as spans.
  const std::vector<SpanWhat> came = what_came(receiver, "short");
  const auto states = std::ranges::count(came, SpanWhat::begin);
  CHECK(states > 1'000);
  CHECK(std::ranges::count(came, SpanWhat::end) == states);
  CHECK(std::ranges::count(came, SpanWhat::span) == 5'000 - states);
  std::set<std::string> begun;
  bool is_in_order = true;
  for (const auto& record : receiver.one().records) {
    if (record.what == SpanWhat::begin) begun.insert(record.span_id);
    if (record.what == SpanWhat::end && !begun.contains(record.span_id)) is_in_order = false;
  }
  CHECK(is_in_order);
  CHECK(receiver.one().accounts["spans"] == receiver.one().records.size());
  CHECK(receiver.one().accounts["spans_sent"] == receiver.one().records.size());
}

TEST_CASE("closing ends the states that are open; their own end then says nothing more") {
  Receiver receiver;
  Publisher publisher(options(receiver));
  ActiveSpan state = publisher.state("rollout", {.attributes = {{"step", 10}}});
  REQUIRE(receiver.close_and_hear(publisher));
  state.end();

  REQUIRE(what_came(receiver, "rollout") == std::vector{SpanWhat::begin, SpanWhat::end});
  const auto& end = receiver.one().records.back();
  CHECK(end.attributes ==
        Receiver::Attributes{{"step", "10"}, {"insight.reason", "publisher_closed"}});
  CHECK(end.status == SpanStatus::unset);
  CHECK(end.end_ns >= end.start_ns);
  CHECK(receiver.one().accounts["spans"] == 2);
  CHECK(publisher.status().spans == 2);
  CHECK(drops(publisher, "closed") == 0);
}

TEST_CASE("states of many threads that end each other's arrive whole") {
  Receiver receiver;
  Publisher publisher(options(receiver));
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        ActiveSpan state = publisher.state("s");
        std::thread([&] { state.end(); }).join();
      }
    });
  }
  receiver.until([&] { return what_came(receiver, "s").size() == 400; });
  for (std::thread& thread : threads) thread.join();
  REQUIRE(receiver.close_and_hear(publisher));

  const std::vector<SpanWhat> came = what_came(receiver, "s");
  CHECK(std::ranges::count(came, SpanWhat::begin) == 200);
  CHECK(std::ranges::count(came, SpanWhat::end) == 200);
  CHECK(receiver.one().accounts["spans"] == receiver.one().accounts["spans_sent"]);
}

TEST_CASE("events and links arrive with their attributes") {
  Receiver receiver;
  Publisher publisher(options(receiver));
  const SpanContext request = publisher.span("request").context();
  {
    ActiveSpan span = publisher.span("batch");
    span.event("preempted", {{"free_blocks", 3}, {"free_blocks", 4}, {"is_last", true}});
    span.event("resumed", {{"why", "memory"}});
    span.link(request, {{"position", 0}, {"share", 0.5}});
  }
  REQUIRE(receiver.close_and_hear(publisher));

  const auto& batch = receiver.one().records.back();
  REQUIRE(batch.events.size() == 2);
  CHECK(batch.events[0].first == "preempted");
  CHECK(batch.events[0].second == Receiver::Attributes{{"free_blocks", "4"}, {"is_last", "1"}});
  CHECK(batch.events[1].first == "resumed");
  CHECK(batch.events[1].second == Receiver::Attributes{{"why", "memory"}});
  REQUIRE(batch.links.size() == 1);
  CHECK(batch.links[0].first == Receiver::hex(request.span_id));
  CHECK(batch.links[0].second == Receiver::Attributes{{"position", "0"}, {"share", "0.5"}});
}

TEST_CASE("what exceeds the limits of a span costs itself and never the span") {
  Receiver receiver;
  Publisher publisher(options(receiver));
  const SpanContext other = publisher.span("other").context();
  {
    ActiveSpan many = publisher.span("many");
    for (int i = 0; i < 40; ++i) {
      many.event("event");
      many.link(other);
    }
    many.link(SpanContext{});
    ActiveSpan wide = publisher.span("wide");
    std::vector<std::string> keys;
    std::vector<SpanAttribute> attributes;
    for (int i = 0; i < 70; ++i) keys.push_back("key" + std::to_string(i));
    for (const std::string& key : keys) attributes.push_back({key, 1});
    wide.event(std::string(300, 'n'), attributes);
    wide.event("bad \xff", {{"text", std::string(5'000, 'v')}, {"", 1}});
    ActiveSpan large = publisher.span("large");
    for (int i = 0; i < 32; ++i) large.event("event", {{"text", std::string(4'000, 'v')}});
  }
  REQUIRE(receiver.close_and_hear(publisher));

  CHECK(receiver.refused == 0);
  REQUIRE(receiver.one().records.size() == 4);
  for (const auto& record : receiver.one().records) {
    if (record.name == "many") CHECK(record.events.size() == 32);
    if (record.name == "many") CHECK(record.links.size() == 32);
    if (record.name == "large") CHECK(record.events.size() == 32);
    if (record.name != "wide") continue;
    CHECK(record.events.at(0).first == std::string(255, 'n'));
    CHECK(record.events.at(0).second.size() == 64);
    CHECK(record.events.at(1).first == "bad \xEF\xBF\xBD");
    CHECK(record.events.at(1).second.at("text").size() == 4'096);
  }
  CHECK(receiver.one().accounts["drop.span_event"] == 8);
  CHECK(receiver.one().accounts["drop.span_link"] == 9);
  // 6 beyond 64, one without a name; 16 times 4,000 bytes fit into 64 KiB.
  CHECK(receiver.one().accounts["drop.span_attribute"] == 6 + 1 + 16);
}

TEST_CASE("an attribute that is set over and over takes its room once") {
  Publisher publisher(alone());
  ActiveSpan span = publisher.span("long");
  for (int i = 0; i < 10'000; ++i) span.attribute("phase", std::string(100, 'x'));

  CHECK(drops(publisher, "span_attribute") == 0);
}

TEST_CASE("a span is current where it began, its children nest, and the order of ends is free") {
  Publisher publisher(alone());
  CHECK_FALSE(SpanScope::current());
  ActiveSpan outer = publisher.span("outer");
  ActiveSpan inner = publisher.span("inner");
  CHECK(SpanScope::current() == inner.context());
  CHECK(inner.context().trace_id == outer.context().trace_id);

  outer.end();
  CHECK(SpanScope::current() == inner.context());
  inner.end();
  CHECK_FALSE(SpanScope::current());
  CHECK(publisher.span("root").context().trace_id != SpanContext{}.trace_id);
  CHECK_FALSE(SpanScope::current());
}

TEST_CASE("a span that is moved, detached or ended elsewhere is current no longer") {
  Publisher publisher(alone());
  ActiveSpan outer = publisher.span("outer");

  ActiveSpan kept;
  kept = publisher.span("assigned");
  CHECK(SpanScope::current() == outer.context());
  std::vector<ActiveSpan> many;
  many.push_back(publisher.span("kept in a vector"));
  CHECK(SpanScope::current() == outer.context());
  auto held = std::make_unique<ActiveSpan>(publisher.span("constructed"));
  CHECK(SpanScope::current() == outer.context());
  ActiveSpan detached = publisher.span("detached");
  CHECK(SpanScope::current() == detached.context());
  detached.detach();
  CHECK(SpanScope::current() == outer.context());
  ActiveSpan handed_over = publisher.span("handed over");
  std::thread([&] {
    CHECK_FALSE(SpanScope::current());
    handed_over.end();
  }).join();
  CHECK(SpanScope::current() == outer.context());
}

TEST_CASE("a scope makes the span of another thread or process current") {
  Publisher publisher(alone());
  const ActiveSpan request = publisher.span("request");
  std::thread([&] {
    const SpanScope scope(request);
    CHECK(SpanScope::current() == request.context());
    CHECK(publisher.span("child").context().trace_id == request.context().trace_id);
    {
      const SpanScope none{SpanContext{}};
      CHECK_FALSE(SpanScope::current());
      CHECK(publisher.span("root").context().trace_id != request.context().trace_id);
    }
    CHECK(SpanScope::current() == request.context());
  }).join();
}

TEST_CASE("many spans that nobody ends keep the list of current ones bounded") {
  Publisher publisher(alone());
  std::vector<std::optional<ActiveSpan>> spans(1'000);
  for (auto& span : spans) {
    // Constructed in place, so that it is not moved.
    struct InPlace {
      Publisher& publisher;

      operator ActiveSpan() const { return publisher.span("s"); }
    };

    span.emplace(InPlace{publisher});
  }
  const SpanContext innermost = SpanScope::current();
  CHECK(innermost);
  spans.clear();
  CHECK_FALSE(SpanScope::current());
}

TEST_CASE("the largest observation inside of a span is the exemplar of its envelope") {
  Receiver receiver;
  Publisher publisher(options(receiver));
  const Histogram histogram = publisher.histogram("took_seconds");
  histogram.observe(100);  // nothing is current
  SpanContext slow;
  {
    const SpanScope none{SpanContext{}};
    histogram.observe(100);
  }
  for (double value : {0.1, 0.4, 0.2}) {
    const ActiveSpan span = publisher.span("decode");
    if (value == 0.4) slow = span.context();
    histogram.observe(value);
  }
  // Before the first flush or after: what came as exemplar never exceeds the slow one.
  REQUIRE(receiver.until([&] { return receiver.total("took_seconds{}") == 5; }));
  REQUIRE(receiver.close_and_hear(publisher));

  const std::vector<Exemplar>& came = receiver.one().exemplars["took_seconds{}"];
  REQUIRE_FALSE(came.empty());
  const auto largest = std::ranges::max_element(came, {}, &Exemplar::value);
  CHECK(largest->value == 0.4);
  CHECK(largest->trace_id == slow.trace_id);
  CHECK(largest->span_id == slow.span_id);
  CHECK(largest->time_ns > receiver.one().records.front().start_ns);
}

TEST_CASE("value and ids of an exemplar belong together, whoever observes meanwhile") {
  Receiver receiver;
  PublisherOptions quick = options(receiver);
  quick.flush_interval = 1ms;
  Publisher publisher(quick);
  const Histogram histogram = publisher.histogram("took", {1});
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  // Each value names the span that it must come with.
  for (unsigned char t = 1; t <= 3; ++t) {
    threads.emplace_back([&, t] {
      for (unsigned char i = 0; !stop; ++i) {
        SpanContext context;
        context.trace_id.fill(t);
        context.span_id.fill(static_cast<unsigned char>(i | 1));
        const SpanScope scope(context);
        histogram.observe(t * 256 + (i | 1));
      }
    });
  }
  const auto& came = [&]() -> const std::vector<Exemplar>& {
    return receiver.one().exemplars["took{}"];
  };
  const bool is_heard =
      receiver.until([&] { return !receiver.publishers.empty() && came().size() >= 50; });
  stop = true;
  for (std::thread& thread : threads) thread.join();
  REQUIRE(is_heard);
  REQUIRE(receiver.close_and_hear(publisher));

  size_t torn = 0;
  for (const Exemplar& exemplar : came()) {
    const int value = static_cast<int>(exemplar.value);
    for (unsigned char byte : exemplar.trace_id) torn += byte != value / 256 ? 1 : 0;
    for (unsigned char byte : exemplar.span_id) torn += byte != value % 256 ? 1 : 0;
  }
  CHECK(torn == 0);
}

}  // namespace
}  // namespace insight
