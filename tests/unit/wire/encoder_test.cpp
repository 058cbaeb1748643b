// SPDX-License-Identifier: Apache-2.0
#include "bus/wire/encoder.hpp"

#include <array>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "bus/wire/decoder.hpp"
#include "bus/wire/limits.hpp"

using namespace insight;
using namespace insight::wire;

namespace {

constexpr uint64_t kWall = 1'700'000'000'000'000'000;

struct Sample {
  std::string resource = encode_resource({{{"run", std::string("a")}}});
  EnvelopeHead head;

  Sample() {
    head.inc.bytes.fill(7);
    head.seq = 3;
    head.t0_ns = kWall - 5;
    head.resource = resource;
  }
};

}  // namespace

TEST_CASE("an envelope of metrics is decoded as it was written") {
  Sample sample;
  const std::array<std::pair<std::string_view, uint64_t>, 2> accounts{
      {{"spans", 12}, {"drop.queue_full", 1ull << 40}}};
  sample.head.boot.emplace().fill(9);
  sample.head.oldest_ns = kWall - 1;
  sample.head.every_ms = 1500;
  sample.head.life = LifeEvent::hello;
  sample.head.accounts = accounts;
  const std::string counter = encode_family({.name = "c_total", .label_keys = {"k"}});
  const std::string histogram = encode_family(
      {.name = "h_seconds", .kind = Kind::histogram, .unit = "s", .bounds = {0.1, 1}});
  const std::string_view values[] = {"v"};
  const std::string labels = encode_labels(values);
  const std::string no_labels = encode_labels({});
  const uint64_t buckets[] = {1, 0, 2};
  EnvelopeWriter writer;
  Decoder decoder;

  writer.start(sample.head);
  writer.family(counter);
  writer.point(labels, 42);
  writer.point(labels, 0.5);
  writer.family(histogram);
  writer.point(no_labels, HistogramValue{.count = 3, .sum = 4.5, .buckets = buckets});
  writer.point(no_labels,
               HistogramValue{.count = 3, .sum = 4.5, .buckets = buckets, .min = 0.25, .max = 2});
  const auto result = decoder.decode(writer.finish({kWall, 77}), kWall);

  REQUIRE(result);
  const EnvelopeView& view = **result;
  CHECK(view.inc == sample.head.inc);
  CHECK(view.seq == 3);
  CHECK(view.t0_ns == kWall - 5);
  CHECK(view.sent_ns == kWall);
  CHECK(view.mono_ns == 77);
  CHECK(view.boot == sample.head.boot);
  CHECK(view.resource == sample.resource);
  CHECK(view.oldest_ns == kWall - 1);
  CHECK(view.every_ms == 1500);
  CHECK(view.life == LifeEvent::hello);
  REQUIRE(view.accounts.size() == 2);
  CHECK(view.accounts[1] == accounts[1]);
  CHECK(view.has_metrics);
  CHECK_FALSE(view.has_spans);
  REQUIRE(view.families.size() == 2);
  CHECK(view.families[0].family == counter);
  CHECK(view.families[1].begin == 2);
  CHECK(view.families[1].end == 4);
  REQUIRE(view.points.size() == 4);
  CHECK(writer.records() == 4);
  CHECK(view.points[0].labels == labels);
  CHECK(view.points[0].value == 42);
  CHECK(view.points[1].value == 0.5);
  REQUIRE(view.points[2].histogram);
  CHECK(view.points[2].histogram->count == 3);
  CHECK(view.points[2].histogram->buckets[2] == 2);
  CHECK(std::isnan(view.points[2].histogram->min));
  CHECK(view.points[3].histogram->max == 2);
  const auto family = decode_family(view.families[1].family);
  REQUIRE(family);
  CHECK(family->bounds == std::vector<double>{0.1, 1});
  CHECK(family->unit == "s");
  CHECK_FALSE(check_value(*family, view.points[3]));
  CHECK(check_value(*family, view.points[0]) == Reason::bad_value);
}

TEST_CASE("an envelope of spans is decoded as it was written") {
  Sample sample;
  const Attribute attributes[] = {
      {"i", int64_t{-3}}, {"u", UINT64_MAX}, {"f", 2.0}, {"b", true}, {"s", "text"}};
  const SpanEvent events[] = {{kWall - 2, "event", attributes}};
  SpanLink link;
  link.trace_id.fill(1), link.span_id.fill(2);
  Span span;
  span.what = SpanWhat::end;
  span.status = SpanStatus::error;
  span.trace_id.fill(3), span.span_id.fill(4);
  span.has_parent = true;
  span.parent_id.fill(5);
  span.name = "rollout", span.lane = "trainer_0";
  span.start_ns = kWall - 10, span.end_ns = kWall - 1;
  span.attributes = attributes;
  span.events = events;
  span.links = {&link, 1};
  std::string encoded;
  encode_span(span, encoded);
  EnvelopeWriter writer;
  Decoder decoder;

  writer.start(sample.head);
  writer.span(encoded);
  const auto result = decoder.decode(writer.finish({kWall, 1}), kWall);

  REQUIRE(result);
  REQUIRE((*result)->spans.size() == 1);
  CHECK_FALSE((*result)->spans[0].refused);
  const Span& read = (*result)->spans[0].span;
  CHECK(read.what == SpanWhat::end);
  CHECK(read.status == SpanStatus::error);
  CHECK(read.trace_id == span.trace_id);
  CHECK(read.span_id == span.span_id);
  CHECK(read.parent_id == span.parent_id);
  CHECK(read.name == "rollout");
  CHECK(read.lane == "trainer_0");
  CHECK(read.start_ns == span.start_ns);
  CHECK(read.end_ns == span.end_ns);
  REQUIRE(read.attributes.size() == 5);
  for (size_t i = 0; i < 5; ++i) {
    CHECK(read.attributes[i].key == attributes[i].key);
    CHECK(read.attributes[i].value == attributes[i].value);
  }
  REQUIRE(read.events.size() == 1);
  CHECK(read.events[0].name == "event");
  CHECK(read.events[0].attributes.size() == 5);
  REQUIRE(read.links.size() == 1);
  CHECK(read.links[0].span_id == link.span_id);
}

TEST_CASE("an envelope that is stamped again differs in its times alone") {
  Sample sample;
  EnvelopeWriter writer;
  Decoder decoder;
  writer.start(sample.head);
  const std::string first(writer.finish({kWall, 1}));

  const std::string_view second = writer.finish({kWall + 9, 10});

  CHECK(second.size() == first.size());
  const auto result = decoder.decode(second, kWall);
  REQUIRE(result);
  CHECK((*result)->seq == 3);
  CHECK((*result)->sent_ns == kWall + 9);
  CHECK((*result)->mono_ns == 10);
}

TEST_CASE("a writer that is started again forgets what was not finished") {
  Sample sample;
  EnvelopeWriter writer;
  Decoder decoder;
  writer.start(sample.head);
  writer.family(encode_family({.name = "c"}));
  writer.point(encode_labels({}), 1);

  writer.start(sample.head);
  const auto result = decoder.decode(writer.finish({kWall, 1}), kWall);

  REQUIRE(result);
  CHECK_FALSE((*result)->has_metrics);
  CHECK(writer.records() == 0);
}

TEST_CASE("numbers keep their value in as few bytes as it needs") {
  Sample sample;
  const double values[] = {0,
                           -0.0,
                           1,
                           127,
                           -1,
                           -33,
                           9007199254740993.0,
                           1e19,
                           -1e19,
                           0.1,
                           -INFINITY,
                           INFINITY,
                           18446744073709551616.0};
  EnvelopeWriter writer;
  Decoder decoder;
  writer.start(sample.head);
  writer.family(encode_family({.name = "g", .kind = Kind::gauge}));
  for (double value : values) writer.point(encode_labels({}), value);
  writer.point(encode_labels({}), std::nan(""));

  const auto result = decoder.decode(writer.finish({kWall, 1}), kWall);

  REQUIRE(result);
  size_t i = 0;
  for (double value : values) {
    const double read = (*result)->points[i++].value;
    CHECK(read == value);
    CHECK(std::signbit(read) == std::signbit(value));
  }
  CHECK(std::isnan((*result)->points[i].value));

  writer.start(sample.head);
  writer.family("");
  const size_t before = writer.bytes();
  writer.point(encode_labels({}), 42);
  CHECK(writer.bytes() - before == 5);
}

TEST_CASE("no element takes more than was estimated") {
  Sample sample;
  const std::string labels(kMaxLabelBytes, 'x');
  const std::string family(kMaxFamilyBytes, 'x');
  std::vector<uint64_t> buckets(kMaxBuckets, UINT64_MAX);
  EnvelopeWriter writer;
  writer.start(sample.head);

  size_t before = writer.bytes();
  writer.family(family);
  CHECK(writer.bytes() - before <= EnvelopeWriter::family_bytes(family.size()));
  before = writer.bytes();
  writer.point(labels, 0.1);
  CHECK(writer.bytes() - before <= EnvelopeWriter::point_bytes(labels.size()));
  before = writer.bytes();
  const Exemplar exemplar{.value = 0.1, .time_ns = UINT64_MAX};
  writer.point(labels, HistogramValue{UINT64_MAX, 0.1, buckets, 0.1, 0.2}, &exemplar);
  CHECK(writer.bytes() - before <= EnvelopeWriter::histogram_bytes(labels.size(), buckets.size()));
}
