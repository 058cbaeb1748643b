// SPDX-License-Identifier: Apache-2.0
#include "bus/collectors/intake.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/unit/collectors/messages.hpp"

namespace insight {
namespace {

using wire::EnvelopeWriter;

struct Bench {
  explicit Bench(SeriesLimits limits = {}, LedgerOptions ledger = {}, bool keep_messages = false)
      : intake(limits, ledger, ids, keep_messages) {}

  /// Takes a message whose bytes are gone afterwards.
  void take(std::string message, const Now& now = read_clocks()) {
    intake.take(message, now);
    std::fill(message.begin(), message.end(), '\xee');
  }

  /// The one batch that waits.
  std::shared_ptr<const Batch> batch() {
    intake.deliver(received);
    auto batches = received.take();
    REQUIRE(batches.size() == 1);
    return batches[0];
  }

  bool has_batch() {
    intake.deliver(received);
    return !received.take().empty();
  }

  uint64_t dropped(Reason reason) const {
    return intake.stats().records_dropped[static_cast<size_t>(reason)];
  }

  uint64_t refused(Reason reason) const {
    return intake.stats().envelopes_refused[static_cast<size_t>(reason)];
  }

  std::shared_ptr<SeriesIds> ids = std::make_shared<SeriesIds>();
  Intake intake;
  Received received;
};

const std::string kRequests = family_of("requests_total", Kind::counter, {"route"});
const std::string kDepth = family_of("depth", Kind::gauge);
const std::string kLatency = family_of("latency_seconds", Kind::histogram, {}, {0.1, 1});

std::string delta_family() {
  Family family;
  family.name = "events_total";
  family.kind = Kind::counter;
  family.delta = true;
  return wire::encode_family(family);
}

uint64_t count_of(const DurationHistogram::Snapshot& snapshot) {
  return std::accumulate(snapshot.buckets.begin(), snapshot.buckets.end(), uint64_t{0});
}

TEST_CASE("messages are kept as they came where a sink wants them, also without any record") {
  Bench bench({}, {}, true);
  TestPublisher publisher(1);
  publisher.head.life = wire::LifeEvent::hello;
  const std::string hello = publisher.message([](EnvelopeWriter&) {});
  publisher.head.life = wire::LifeEvent::none;
  const std::string point = publisher.message([](EnvelopeWriter& writer) {
    writer.family(kDepth);
    writer.point(labels_of({}), 1);
  });
  const std::string refused = publisher.message([](EnvelopeWriter& writer) {
    writer.family("no family");
    writer.point(labels_of({}), 1);
  });
  const Now now = read_clocks();

  bench.take(hello, now);
  bench.take(point, now);
  bench.take(point, now);
  bench.take(refused, now);
  bench.take("foreign", now);
  const auto batch = bench.batch();

  REQUIRE(batch->segments.size() == 3);
  CHECK(batch->points.size() == 1);
  CHECK(batch->segments[0].message == hello);
  CHECK(batch->segments[1].message == point);
  CHECK(batch->segments[2].message == refused);
  CHECK(batch->segments[1].end == 1);
  CHECK(batch->segments[2].begin == batch->segments[2].end);
  CHECK(batch->segments[0].received_ns == now.wall_ns);
  CHECK(batch->bytes() >= hello.size() + point.size() + refused.size());
}

TEST_CASE("no message is kept where no sink wants it") {
  Bench bench;
  TestPublisher publisher(1);
  publisher.head.life = wire::LifeEvent::hello;
  bench.take(publisher.message([](EnvelopeWriter&) {}));
  CHECK_FALSE(bench.has_batch());

  bench.take(publisher.message([](EnvelopeWriter& writer) {
    writer.family(kDepth);
    writer.point(labels_of({}), 1);
  }));
  CHECK(bench.batch()->segments[0].message.empty());
}

TEST_CASE("points arrive with their series, their envelope and memory of their own") {
  Bench bench;
  TestPublisher publisher(1);
  const std::vector<uint64_t> buckets{2, 1, 0};
  const Now sent = read_clocks();
  publisher.head.oldest_ns = 42;
  bench.take(publisher.message(
      [&](EnvelopeWriter& writer) {
        writer.family(kRequests);
        writer.point(labels_of({"/a"}), 42);
        writer.point(labels_of({"/b"}), 7);
        writer.family(kLatency);
        writer.point(labels_of({}), HistogramValue{.count = 3, .sum = 0.5, .buckets = buckets});
      },
      sent));

  const auto batch = bench.batch();

  CHECK(batch->signal == Signal::metrics);
  REQUIRE(batch->points.size() == 3);
  CHECK(batch->points[0].series->family->name == "requests_total");
  CHECK(batch->points[0].series->label_values[0] == "/a");
  CHECK(batch->points[0].value == 42);
  CHECK(batch->points[0].time_ns == sent.wall_ns);
  CHECK(batch->points[1].series->label_values[0] == "/b");
  REQUIRE(batch->points[2].histogram != nullptr);
  CHECK(batch->points[2].histogram->count == 3);
  CHECK(batch->points[2].histogram->buckets[1] == 1);
  REQUIRE(batch->segments.size() == 1);
  const Segment& segment = batch->segments[0];
  CHECK(segment.incarnation->id == test_id(1));
  CHECK(segment.seq == 1);
  CHECK(segment.sent_ns == sent.wall_ns);
  CHECK(segment.oldest_ns == 42);
  CHECK(segment.begin == 0);
  CHECK(segment.end == 3);
  CHECK(bench.intake.stats().records[0] == 3);
  CHECK(bench.intake.stats().envelopes[0] == 1);
  CHECK(bench.intake.stats().series == 3);
}

TEST_CASE("envelopes that wait become one batch for each signal") {
  Bench bench;
  TestPublisher one(1), two(2);
  Span span;
  span.trace_id[0] = span.span_id[0] = 1;
  span.name = "step";
  span.lane = "trainer";
  span.start_ns = 1;
  span.end_ns = 2;
  std::string encoded;
  wire::encode_span(span, encoded);
  for (int i = 0; i < 10; ++i) {
    bench.take(one.point(kDepth, labels_of({}), i));
    bench.take(two.message([&](EnvelopeWriter& writer) { writer.span(encoded); }));
  }

  bench.intake.deliver(bench.received);
  const auto batches = bench.received.take();

  REQUIRE(batches.size() == 2);
  CHECK(batches[0]->points.size() == 10);
  CHECK(batches[0]->segments.size() == 10);
  CHECK(batches[1]->signal == Signal::spans);
  CHECK(batches[1]->spans.size() == 10);
  CHECK(batches[1]->spans[9].name == "step");
  CHECK_FALSE(bench.has_batch());
}

TEST_CASE("spans keep their attributes, events and links when the message is gone") {
  Bench bench;
  TestPublisher publisher(1);
  const std::vector<Attribute> attributes{{"policy", std::string_view("ppo")},
                                          {"step", int64_t{-10}}};
  const std::vector<SpanEvent> events{{5, "checkpoint", attributes}};
  std::vector<SpanLink> links(1);
  links[0].trace_id[0] = links[0].span_id[0] = 9;
  links[0].attributes = attributes;
  Span span;
  span.trace_id[0] = span.span_id[0] = span.parent_id[0] = 1;
  span.has_parent = true;
  span.name = "update";
  span.lane = "trainer_0";
  span.start_ns = 1;
  span.end_ns = 9;
  span.attributes = attributes;
  span.events = events;
  span.links = links;
  std::string encoded;
  wire::encode_span(span, encoded);

  bench.take(publisher.message([&](EnvelopeWriter& writer) { writer.span(encoded); }));
  const auto batch = bench.batch();

  REQUIRE(batch->spans.size() == 1);
  const Span& got = batch->spans[0];
  CHECK(got.name == "update");
  CHECK(got.lane == "trainer_0");
  CHECK(got.has_parent);
  REQUIRE(got.attributes.size() == 2);
  CHECK(got.attributes[0].key == "policy");
  CHECK(std::get<std::string_view>(got.attributes[0].value) == "ppo");
  REQUIRE(got.events.size() == 1);
  CHECK(got.events[0].name == "checkpoint");
  CHECK(got.events[0].attributes[1].key == "step");
  REQUIRE(got.links.size() == 1);
  CHECK(got.links[0].trace_id[0] == 9);
  CHECK(got.links[0].attributes[0].key == "policy");
}

TEST_CASE("a refresh is told from a change") {
  Bench bench;
  TestPublisher publisher(1);
  const std::string none = labels_of({});
  const auto is_changed = [&](double value) {
    bench.take(publisher.point(kDepth, none, value));
    return bench.batch()->points[0].changed;
  };

  CHECK(is_changed(1));
  CHECK_FALSE(is_changed(1));
  CHECK(is_changed(2));
  CHECK(is_changed(std::nan("")));
  CHECK_FALSE(is_changed(std::nan("")));
}

TEST_CASE("a histogram of the same count and sum is a refresh") {
  Bench bench;
  TestPublisher publisher(1);
  const std::vector<uint64_t> buckets{2, 1, 0}, more{2, 2, 0};
  const auto is_changed = [&](const HistogramValue& value) {
    bench.take(publisher.message([&](EnvelopeWriter& writer) {
      writer.family(kLatency);
      writer.point(labels_of({}), value);
    }));
    return bench.batch()->points[0].changed;
  };

  CHECK(is_changed({.count = 3, .sum = 0.5, .buckets = buckets}));
  CHECK_FALSE(is_changed({.count = 3, .sum = 0.5, .buckets = buckets}));
  CHECK(is_changed({.count = 4, .sum = 0.5, .buckets = more}));
}

TEST_CASE("increments are changes also when they are equal") {
  Bench bench;
  TestPublisher publisher(1);

  for (int i = 0; i < 3; ++i) {
    bench.take(publisher.point(delta_family(), labels_of({}), 1));
    CHECK(bench.batch()->points[0].changed);
  }
}

TEST_CASE("a late envelope brings only what no newer one brought, and all increments") {
  Bench bench;
  TestPublisher publisher(1);
  const auto envelope = [&](uint64_t seq, std::initializer_list<std::string_view> routes) {
    publisher.head.seq = seq;
    return publisher.message_again([&](EnvelopeWriter& writer) {
      writer.family(kRequests);
      for (std::string_view route : routes) writer.point(labels_of({route}), 1);
      writer.family(delta_family());
      writer.point(labels_of({}), 1);
    });
  };
  bench.take(envelope(1, {"/a"}));
  bench.take(envelope(3, {"/a"}));
  CHECK(bench.batch()->points.size() == 4);

  bench.take(envelope(2, {"/a", "/b"}));

  const auto batch = bench.batch();
  REQUIRE(batch->points.size() == 2);
  CHECK(batch->points[0].series->label_values[0] == "/b");
  CHECK(batch->points[1].series->family->name == "events_total");
  CHECK(bench.dropped(Reason::late) == 1);
}

TEST_CASE("a repeated envelope is dropped whole and counted") {
  Bench bench;
  TestPublisher publisher(1);
  const std::string message = publisher.point(kDepth, labels_of({}), 1);
  bench.take(message);
  bench.batch();

  bench.take(message);

  CHECK_FALSE(bench.has_batch());
  CHECK(bench.refused(Reason::duplicate) == 1);
  CHECK(bench.intake.stats().records[0] == 1);
}

TEST_CASE("signs of life bring no batch and count as envelopes of metrics") {
  Bench bench;
  TestPublisher publisher(1);

  bench.take(publisher.life(wire::LifeEvent::hello));
  CHECK_FALSE(bench.has_batch());
  CHECK(bench.intake.stats().publishers == std::array<uint64_t, 4>{1, 0, 0, 0});
  bench.take(publisher.life(wire::LifeEvent::bye));

  CHECK(bench.intake.stats().envelopes[0] == 2);
  CHECK(bench.intake.stats().publishers == std::array<uint64_t, 4>{0, 0, 0, 1});
}

TEST_CASE("a wrong point costs itself, a family that does not decode its points") {
  Bench bench;
  TestPublisher publisher(1);
  std::string summary = family_of("m", Kind::counter);
  summary.replace(summary.find("counter"), 7, "summary");
  bench.take(publisher.message([&](EnvelopeWriter& writer) {
    writer.family(kRequests);
    writer.point(labels_of({"/a"}), -1);
    writer.point(labels_of({"/a", "/b"}), 1);
    writer.point(labels_of({"bad \xff"}), 1);
    writer.point(labels_of({"/ok"}), 5);
    writer.family("\xc1");
    writer.point(labels_of({}), 1);
    writer.point(labels_of({}), 2);
    writer.family(summary);
    writer.point(labels_of({}), 1);
    writer.family(kLatency);
    writer.point(labels_of({}), 1);
  }));

  const auto batch = bench.batch();

  REQUIRE(batch->points.size() == 1);
  CHECK(batch->points[0].value == 5);
  CHECK(bench.dropped(Reason::bad_value) == 4);
  CHECK(bench.dropped(Reason::bad_family) == 2);
  CHECK(bench.dropped(Reason::unknown_kind) == 1);
  CHECK(bench.intake.stats().records[0] == 8);
  CHECK(bench.intake.stats().series == 1);
}

TEST_CASE("messages that are no envelopes are counted by reason with their bytes") {
  Bench bench;
  bench.take("hello");
  bench.take("\xc1");
  bench.take(std::string(3 << 20, 'x'));
  bench.intake.refuse(Reason::multipart, 10);

  CHECK(bench.refused(Reason::foreign) + bench.refused(Reason::malformed) == 2);
  CHECK(bench.refused(Reason::too_large) == 1);
  CHECK(bench.refused(Reason::multipart) == 1);
  CHECK(bench.intake.stats().refused_bytes == 5 + 1 + (3 << 20) + 10);
  CHECK_FALSE(bench.has_batch());
}

TEST_CASE("points over a limit are dropped, the metric is named, and the others stay exact") {
  Bench bench({.series_per_metric = 100});
  TestPublisher publisher(1);
  for (int i = 0; i < 1'000; ++i) {
    bench.take(publisher.message([&](EnvelopeWriter& writer) {
      writer.family(kRequests);
      writer.point(labels_of({"/" + std::to_string(i)}), 1);
      writer.family(kDepth);
      writer.point(labels_of({}), i);
    }));
  }

  CHECK(bench.batch()->points.size() == 1'100);
  CHECK(bench.dropped(Reason::cardinality) == 900);
  const CollectorStats stats = bench.intake.stats();
  REQUIRE(stats.offenders.size() == 1);
  CHECK(stats.offenders[0].metric == "requests_total");
  CHECK(stats.offenders[0].limit == "series_per_metric");
  CHECK(stats.offenders[0].points == 900);
  CHECK(stats.largest_metrics[0] == std::pair<std::string, uint64_t>{"requests_total", 100});
}

TEST_CASE("at a limit the series of who has gone make way for who lives") {
  Bench bench({.series_per_metric = 3});
  for (uint64_t n = 1; n <= 20; ++n) {
    TestPublisher publisher(n);
    for (const char* route : {"/a", "/b", "/c"}) {
      bench.take(publisher.point(kRequests, labels_of({route}), 1));
    }
    bench.take(publisher.life(wire::LifeEvent::bye));
    CHECK(bench.batch()->points.size() == 3);
  }

  CHECK(bench.dropped(Reason::cardinality) == 0);
  CHECK(bench.intake.publishers().size() == 1);
}

TEST_CASE("records of an incarnation too many are dropped and counted") {
  Bench bench({}, {.incarnations = 1});
  TestPublisher one(1), two(2);
  bench.take(one.point(kDepth, labels_of({}), 1));
  bench.batch();

  bench.take(two.point(kDepth, labels_of({}), 1));

  CHECK_FALSE(bench.has_batch());
  CHECK(bench.dropped(Reason::cardinality) == 1);
  CHECK(bench.intake.stats().records[0] == 2);
}

TEST_CASE("latency is measured on the monotonic clock when both sides share it") {
  Bench bench;
  TestPublisher publisher(1);
  const Now sent = read_clocks();
  Now received = sent;
  received.wall_ns += 3 * kMillisecond;
  received.mono_ns += 3 * kMillisecond;
  std::memcpy(publisher.head.boot.emplace().data(), boot_id().data(), 16);

  bench.take(publisher.point(kDepth, labels_of({}), 1, sent), received);

  const auto latency = bench.intake.stats().transport_latency;
  CHECK(count_of(latency[static_cast<size_t>(LatencyMethod::mono)]) == 1);
  CHECK(latency[static_cast<size_t>(LatencyMethod::mono)].sum_seconds == doctest::Approx(0.003));
  CHECK(count_of(latency[static_cast<size_t>(LatencyMethod::none)]) == 0);
}

TEST_CASE("a foreign boot id or a shifted monotonic clock leaves the latency without a method") {
  Bench bench;
  TestPublisher publisher(1);
  const Now sent = read_clocks();
  publisher.head.boot.emplace().fill(7);
  bench.take(publisher.point(kDepth, labels_of({}), 1, sent), {sent.wall_ns + 50, sent.mono_ns});
  std::memcpy(publisher.head.boot->data(), boot_id().data(), 16);
  const Now shifted{sent.wall_ns, sent.mono_ns + 2 * kMillisecond};

  bench.take(publisher.point(kDepth, labels_of({}), 1, sent), shifted);

  const auto latency = bench.intake.stats().transport_latency;
  CHECK(count_of(latency[static_cast<size_t>(LatencyMethod::mono)]) == 0);
  CHECK(count_of(latency[static_cast<size_t>(LatencyMethod::none)]) == 2);
}

TEST_CASE("latency is never negative") {
  Bench bench;
  TestPublisher publisher(1);
  const Now received = read_clocks();
  const Now ahead{received.wall_ns + kSecond, received.mono_ns + kSecond};
  bench.take(publisher.point(kDepth, labels_of({}), 1, ahead), received);
  std::memcpy(publisher.head.boot.emplace().data(), boot_id().data(), 16);
  bench.take(publisher.point(kDepth, labels_of({}), 1, ahead), received);

  for (const auto& latency : bench.intake.stats().transport_latency) {
    CHECK(latency.sum_seconds == 0);
    CHECK(count_of(latency) == latency.buckets[0]);
  }
}

TEST_CASE("ten thousand publishers that come and go keep the number of series bounded") {
  Bench bench({.series = 2'000});
  uint64_t points = 0;
  for (uint64_t n = 1; n <= 10'000; ++n) {
    TestPublisher publisher(n);
    bench.take(publisher.message([&](EnvelopeWriter& writer) {
      writer.family(kRequests);
      for (int i = 0; i < 20; ++i) writer.point(labels_of({std::to_string(i)}), i);
    }));
    bench.take(publisher.life(wire::LifeEvent::bye));
    points += bench.batch()->points.size();
    CHECK(bench.ids->in_use() <= 2'000);
  }

  CHECK(points == 200'000);
  CHECK(bench.intake.stats().records_dropped == ReasonArray{});
  CHECK(bench.intake.stats().series <= 2'000);
}

TEST_CASE("what is saved is known after a restart") {
  Bench before, after;
  TestPublisher publisher(1);
  const std::string first = publisher.point(kDepth, labels_of({}), 1);
  before.take(first);

  REQUIRE(after.intake.load(before.intake.save(read_clocks(), true), read_clocks()));

  CHECK(after.intake.stats().publishers == std::array<uint64_t, 4>{0, 1, 0, 0});
  after.take(first);
  CHECK(after.refused(Reason::duplicate) == 1);
  after.take(publisher.point(kDepth, labels_of({}), 2));
  CHECK(after.batch()->points[0].value == 2);
}

}  // namespace
}  // namespace insight
