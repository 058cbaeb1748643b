// SPDX-License-Identifier: Apache-2.0
#include "bus/pipeline/transform.hpp"

#include <array>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "bus/pipeline/sink_worker.hpp"
#include "tests/support/records.hpp"
#include "tests/unit/pipeline/test_backend.hpp"

namespace insight {
namespace {

/// A batch with a point for each series.
std::shared_ptr<Batch> batch_of(test::Source& source, const std::vector<const Series*>& series) {
  const std::shared_ptr<Batch> batch = source.batch(Signal::metrics, series.size());
  for (size_t i = 0; i < series.size(); ++i) {
    batch->points[i] = {.series = series[i], .value = static_cast<double>(i + 1)};
  }
  return batch;
}

std::vector<std::string> names(const Batch& batch) {
  std::vector<std::string> out;
  for (const Point& point : batch.points) out.push_back(point.series->family->name);
  for (const Span& span : batch.spans) out.emplace_back(span.name);
  return out;
}

/// "a=1,b=2" of the first point.
std::string labels(const Batch& batch, size_t point = 0) {
  const Series& series = *batch.points[point].series;
  std::string out;
  for (size_t i = 0; i < series.family->label_keys.size(); ++i) {
    out += (i == 0 ? "" : ",") + series.family->label_keys[i] + "=" +
           std::string(series.label_values[i]);
  }
  return out;
}

}  // namespace

TEST_CASE("names are kept that are included and not excluded, and the others are counted") {
  test::Source source;
  const std::vector<const Series*> series{
      &source.series({.name = "rl_a"}), &source.series({.name = "other"}),
      &source.series({.name = "rl_debug"}), &source.series({.name = "rl_b"})};
  Transform transform({.include = {"rl_*"}, .exclude = {"*_debug"}});
  const auto batch = batch_of(source, series);

  const Transformed given = transform.apply(*batch);

  CHECK(names(*given.batch) == std::vector<std::string>{"rl_a", "rl_b"});
  CHECK(given.batch->points[1].value == 4);
  CHECK(given.filtered == 2);
  CHECK(given.unsupported == 0);
  CHECK(given.batch->segments[0].begin == 0);
  CHECK(given.batch->segments[0].end == 2);
  CHECK(given.batch->points[0].series == series[0]);
}

TEST_CASE("segments keep their records when others between them go, also when nothing is left") {
  const auto ids = std::make_shared<SeriesIds>();
  test::Source one({}, 1, ids), two({}, 2, ids);
  const Series& a = one.series({.name = "a"});
  const Series& b = two.series({.name = "b"});
  const auto batch = batch_of(one, {&a, &a});
  for (const auto& [source, series] : {std::pair(&two, &b), std::pair(&one, &a)}) {
    Segment segment = source->batch(Signal::metrics, 0)->segments[0];
    segment.begin = batch->points.size();
    batch->points.push_back({.series = series});
    segment.end = batch->points.size();
    batch->segments.push_back(segment);
  }
  Transform transform({.exclude = {"a"}});

  const Transformed given = transform.apply(*batch);

  REQUIRE(given.batch->segments.size() == 3);
  CHECK(given.filtered == 3);
  CHECK(given.batch->segments[0].begin == given.batch->segments[0].end);
  CHECK(given.batch->segments[1].end - given.batch->segments[1].begin == 1);
  CHECK(given.batch->segments[2].begin == given.batch->segments[2].end);
  CHECK(given.batch->segments[1].incarnation->id == two.incarnation().id);
}

TEST_CASE("nothing is copied when nothing is to be changed in a batch") {
  test::Source source;
  const auto batch = batch_of(source, {&source.series({.name = "a"})});
  const auto spans = source.batch(Signal::spans, 1);
  spans->spans[0].name = "rollout";
  Transform transform(
      {.include = {"a", "r*"}, .rename = {{"b", "c"}}, .labels = {{"l", ""}}, .scale = {{"b", 2}}});

  CHECK(transform.apply(*batch).batch == batch.get());
  CHECK(transform.apply(*spans).batch == spans.get());
}

TEST_CASE("metrics are renamed, then prefixed; spans are renamed") {
  test::Source source;
  const auto batch =
      batch_of(source, {&source.series({.name = "old"}), &source.series({.name = "a"})});
  const auto spans = source.batch(Signal::spans, 3);
  for (size_t i = 0; i < 3; ++i) spans->spans[i].name = i == 0 ? "old" : i == 1 ? "gone" : "kept";
  Transform transform({.exclude = {"gone"}, .rename = {{"old", "new"}}, .prefix = "p_"});

  CHECK(names(*transform.apply(*batch).batch) == std::vector<std::string>{"p_new", "p_a"});
  const Transformed given = transform.apply(*spans);
  CHECK(names(*given.batch) == std::vector<std::string>{"new", "kept"});
  CHECK(given.filtered == 1);
  CHECK(given.batch->segments[0].end == 2);
}

TEST_CASE("labels are added, replaced and removed, also those that come of the resource") {
  test::Source source(Resource{{{"rank", int64_t{3}}}});
  const auto batch = batch_of(
      source, {&source.series({.name = "a", .label_keys = {"route", "shard"}}, {"/x", "7"})});
  Transform transform(
      {.labels = {{"cluster", "c1"}, {"route", "all"}, {"shard", ""}, {"rank", ""}, {"no", ""}}});

  const Transformed given = transform.apply(*batch);

  CHECK(labels(*given.batch) == "cluster=c1,route=all,rank=");
  CHECK(given.batch->points[0].series->sent_as == batch->points[0].series);
  CHECK(given.batch->points[0].series->id == batch->points[0].series->id);
  CHECK(given.batch->points[0].series->incarnation == &source.incarnation());
}

TEST_CASE("values are scaled with what belongs to them, counts are not") {
  test::Source source;
  const std::array<uint64_t, 3> buckets{1, 2, 3};
  const HistogramValue histogram{.count = 6, .sum = 900, .buckets = buckets, .min = 50, .max = 400};
  const Exemplar exemplar{.value = 70, .time_ns = 5};
  const auto batch = batch_of(
      source,
      {&source.series({.name = "c_ms"}), &source.series({.name = "g_ms", .kind = Kind::gauge}),
       &source.series(
           {.name = "h_ms", .kind = Kind::histogram, .unit = "ms", .bounds = {100, 200}}),
       &source.series({.name = "same"})});
  batch->points[2].histogram = &histogram;
  batch->points[2].exemplar = &exemplar;
  Transform transform({.scale = {{"*_ms", 0.5}, {"*", 1}}});

  const Batch& out = *transform.apply(*batch).batch;

  CHECK(out.points[0].value == 0.5);
  CHECK(out.points[1].value == 1);
  const HistogramValue& scaled = *out.points[2].histogram;
  CHECK(scaled.count == 6);
  CHECK(scaled.sum == 450);
  CHECK(scaled.min == 25);
  CHECK(scaled.max == 200);
  CHECK(scaled.buckets.data() == buckets.data());
  CHECK(out.points[2].series->family->bounds == std::vector<double>{50, 100});
  CHECK(out.points[2].series->family->unit.empty());
  CHECK(out.points[2].exemplar->value == 35);
  CHECK(out.points[2].exemplar->time_ns == 5);
  CHECK(out.points[3].series == batch->points[3].series);
}

TEST_CASE("a counter stays finite, and bounds that would become equal are refused") {
  test::Source source;
  const auto batch =
      batch_of(source, {&source.series({.name = "c"}),
                        &source.series({.name = "h", .kind = Kind::histogram, .bounds = {1, 2}})});
  batch->points[0].value = 1e300;
  const HistogramValue histogram{.count = 1};
  batch->points[1].histogram = &histogram;
  Transform transform({.scale = {{"*", 1e308}}});

  const Transformed given = transform.apply(*batch);

  CHECK(std::isfinite(given.batch->points[0].value));
  CHECK(given.batch->points.size() == 1);
  CHECK(given.unsupported == 1);
  CHECK(given.filtered == 0);
}

TEST_CASE("an exponential histogram is scaled where its bounds stay its bounds") {
  test::Source source;
  const std::array<uint64_t, 1> buckets{4};
  const ExpHistogramValue value{
      .count = 4, .sum = 10, .scale = 1, .positive_offset = 3, .positive = buckets};
  const Series& series = source.series({.name = "e", .kind = Kind::exphist});
  const auto batch = batch_of(source, {&series});
  batch->points[0].exponential = &value;

  Transform doubled({.scale = {{"e", 2}}});
  const Transformed given = doubled.apply(*batch);
  REQUIRE(given.batch->points.size() == 1);
  CHECK(given.batch->points[0].exponential->positive_offset == 5);  // two buckets to a power of two
  CHECK(given.batch->points[0].exponential->sum == 20);

  Transform tripled({.scale = {{"e", 3}}});
  CHECK(tripled.apply(*batch).batch->points.empty());
  CHECK(tripled.apply(*batch).unsupported == 1);
}

TEST_CASE("a series gives the same series as long as its incarnation lives, and no longer") {
  const auto ids = std::make_shared<SeriesIds>();
  const auto family = std::make_shared<const Family>(Family{.name = "a"});
  const auto make = [&](unsigned char byte) {
    IncarnationId id;
    id.bytes.fill(byte);
    return std::make_shared<Incarnation>(id, 1, Resource{}, kSecond, ids);
  };
  const auto point_of = [](const std::shared_ptr<Incarnation>& incarnation, const Series& series) {
    Batch batch;
    batch.segments.push_back({.incarnation = incarnation, .seq = 1, .end = 1});
    batch.points.push_back({.series = &series});
    return batch;
  };
  Transform transform({.prefix = "p_"});
  auto first = make(1);
  const Series& series = first->add_series(family, {});
  Batch batch = point_of(first, series);

  const Series* made = transform.apply(batch).batch->points[0].series;
  CHECK(made->family->name == "p_a");
  CHECK(transform.apply(batch).batch->points[0].series == made);

  // Its number belongs to another one afterwards.
  const uint32_t id = series.id;
  batch.segments.clear();
  transform.apply(batch);  // after the next batch nothing holds it
  first.reset();
  const auto other = make(2);
  const Series& next = other->add_series(std::make_shared<const Family>(Family{.name = "b"}), {});
  REQUIRE(next.id == id);
  const Batch later = point_of(other, next);
  CHECK(transform.apply(later).batch->points[0].series->family->name == "p_b");
  CHECK(transform.apply(later).batch->points[0].series->sent_as == &next);
}

TEST_CASE("incarnations that are gone are forgotten") {
  Transform transform({.prefix = "p_"});
  for (int i = 0; i < 1'000; ++i) {
    test::Source source;
    transform.apply(*batch_of(source, {&source.series({.name = "a"})}));
  }
  CHECK(transform.publishers() <= 128);
}

TEST_CASE("the books of a worker balance with a table that leaves records out") {
  test::Backend backend;
  size_t tries = 0;
  backend.on_write = [&](const Batch& batch) {
    if (++tries == 1) return test::refuse(Delivery::Outcome::retry);
    Delivery delivery;
    delivery.dropped[static_cast<size_t>(Reason::conflict)] = batch.records() > 2 ? 1 : 0;
    return delivery;
  };
  SinkWorkerOptions options;
  options.transform.exclude = {"no*"};
  options.retry_initial_ns = kMillisecond;
  test::Source source;
  const Series& yes = source.series({.name = "yes"});
  const Series& no = source.series({.name = "no"});
  SinkWorker worker(std::make_unique<test::TestSink>(backend), options, Logger::none());

  worker.offer(batch_of(source, {&yes, &no, &yes, &yes, &no}));
  worker.offer(batch_of(source, {&no}));
  uint64_t now = mono_now_ns();
  for (int i = 0; i < 20; ++i)
    now = std::max(now, worker.step({.wall_ns = now, .mono_ns = now})) + 1;

  const SinkSnapshot snapshot = worker.snapshot();
  CHECK(test::is_balanced(snapshot));
  CHECK(snapshot.received[0] == 6);
  CHECK(snapshot.filtered[0] == 3);
  CHECK(snapshot.delivered[0] == 2);
  CHECK(test::dropped(snapshot, Signal::metrics, Reason::conflict) == 1);
}

}  // namespace insight
