// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <string>

#include <doctest/doctest.h>

#include "tests/unit/aggregate/world.hpp"

using namespace insight;
using namespace insight::test;

namespace {

constexpr uint64_t kNoon = 1'700'000'000 * kSecond;

std::string open_metrics(World& world) {
  return world.aggregate->render(world.now, Exposition::open_metrics);
}

Exemplar exemplar(double value, unsigned char id, uint64_t time_ns = kNoon) {
  Exemplar out{.value = value, .time_ns = time_ns};
  out.trace_id.fill(id);
  out.span_id.fill(id);
  return out;
}

/// `last` with an exemplar at its newest point.
Batch with(BatchBuilder& last, const Exemplar& exemplar) {
  Exemplar& kept = last.batch.arena.take<Exemplar>(1)[0];
  kept = exemplar;
  last.batch.points.back().exemplar = &kept;
  return std::move(last.batch);
}

/// As it stands behind a sample.
std::string text_of(const char* hex, const char* value, const char* time = "1700000000.000") {
  std::string trace, span;
  for (int i = 0; i < 16; ++i) trace += hex;
  for (int i = 0; i < 8; ++i) span += hex;
  return " # {trace_id=\"" + trace + "\",span_id=\"" + span + "\"} " + value + " " + time + "\n";
}

bool has(const std::string& page, const std::string& part) {
  return page.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a counter's family loses _total, and a unit stands where the name ends with it") {
  World world;
  TestPublisher a = world.publisher(1);
  world.apply(BatchBuilder()
                  .add(a, {.name = "io_bytes", .unit = "bytes", .help = "say \"hi\"\\"}, {}, 5)
                  .add(a, {.name = "wait", .kind = Kind::gauge, .unit = "s"}, {{"x", "\"\\\n"}}, 2)
                  .add(a, {.name = "wait_seconds", .kind = Kind::gauge, .unit = "s"}, {}, 3));

  CHECK(open_metrics(world) ==
        "# HELP io_bytes say \\\"hi\\\"\\\\\n# TYPE io_bytes counter\n# UNIT io_bytes bytes\n"
        "io_bytes_total 5\n"
        "# TYPE wait gauge\nwait{x=\"\\\"\\\\\\n\"} 2\n"
        "# TYPE wait_seconds gauge\n# UNIT wait_seconds seconds\nwait_seconds 3\n");
}

TEST_CASE("bounds have a point or an exponent") {
  World world;
  TestPublisher a = world.publisher(1);
  world.apply(BatchBuilder().histogram(a, "h", {0.00001, 0.25, 1, 100'000, 2e6, 1e22},
                                       {1, 0, 0, 0, 0, 0, 0}, 0));
  const std::string page = open_metrics(world);
  for (const char* bound : {"1e-05", "0.25", "1.0", "100000.0", "2e+06", "1e+22", "+Inf"}) {
    CHECK(has(page, "h_bucket{le=\"" + std::string(bound) + "\"} 1\n"));
  }
  CHECK(has(world.aggregate->render(world.now), "h_bucket{le=\"1\"} 1\n"));
}

TEST_CASE("of each bucket the newest exemplar is shown, in OpenMetrics alone") {
  World world;
  TestPublisher a = world.publisher(1), b = world.publisher(2);
  const auto observe = [&](TestPublisher& publisher, uint64_t n, const Exemplar& with_it) {
    const std::vector<uint64_t> buckets{n, n, n};
    world.aggregate->apply(
        with(BatchBuilder().histogram(publisher, "h", {1, 2}, buckets, 9), with_it), world.now);
  };
  observe(a, 1, exemplar(1, 0xA1));  // the upper bound belongs to the bucket
  observe(a, 2, exemplar(0.5, 0xA2, kNoon + 1'500'000'000));
  observe(b, 1, exemplar(0.7, 0xB1, kNoon + kSecond));  // older
  observe(b, 2, exemplar(std::numeric_limits<double>::infinity(), 0xB2));

  const std::string page = open_metrics(world);
  CHECK(has(page, "h_bucket{le=\"1.0\"} 4" + text_of("a2", "0.5", "1700000001.500")));
  CHECK(has(page, "h_bucket{le=\"2.0\"} 8\n"));
  CHECK(has(page, "h_bucket{le=\"+Inf\"} 12" + text_of("b2", "+Inf")));
  CHECK(world.aggregate->status().exemplars == 2);
  CHECK_FALSE(has(world.aggregate->render(world.now), "trace_id"));
}

TEST_CASE("a counter has one exemplar, a gauge none") {
  World world;
  TestPublisher a = world.publisher(1);
  world.aggregate->apply(with(BatchBuilder().counter(a, "c", {{"x", "y"}}, 1), exemplar(3, 0x01)),
                         world.now);
  world.aggregate->apply(
      with(BatchBuilder().counter(a, "c", {{"x", "y"}}, 2), exemplar(4, 0x02, 0)), world.now);
  world.aggregate->apply(with(BatchBuilder().gauge(a, "g", {}, 2), exemplar(4, 0x03)), world.now);

  const std::string page = open_metrics(world);
  CHECK(has(page, "c_total{x=\"y\"} 2" + text_of("01", "3")));
  CHECK(has(page, "g 2\n"));
  CHECK(world.aggregate->status().exemplars == 1);
}

TEST_CASE("an exemplar whose value is no number has no bucket and is counted") {
  World world;
  TestPublisher a = world.publisher(1);
  world.aggregate->apply(with(BatchBuilder().histogram(a, "h", {1}, {1, 0}, 1), exemplar(NAN, 1)),
                         world.now);
  CHECK(world.aggregate->status().exemplars == 0);
  CHECK(world.aggregate->status().exemplars_dropped == 1);
}

TEST_CASE("exemplars end with their series and with the process") {
  World world;
  TestPublisher a = world.publisher(1), b = world.publisher(2);
  const auto count = [&](TestPublisher& publisher, double value) {
    world.aggregate->apply(with(BatchBuilder().counter(publisher, "c", {}, value), exemplar(1, 1)),
                           world.now);
  };
  count(a, 1);
  world.set_life(a, Life::ended);
  world.pass(3'601 * kSecond);
  CHECK(world.aggregate->status().exemplars == 0);

  count(b, 1);
  CHECK(world.aggregate->status().exemplars == 1);
  CHECK(has(open_metrics(world), "c_total 2 # {"));
  world.restart();

  CHECK(world.aggregate->status().exemplars == 0);
  CHECK(has(open_metrics(world), "c_total 2\n"));
}

TEST_CASE("exemplars take no more memory than there may be") {
  World world({.bytes = 20'000});
  TestPublisher a = world.publisher(1);
  std::vector<double> bounds;
  for (int i = 0; i < 100; ++i) bounds.push_back(i);
  const std::vector<uint64_t> buckets(101, 1);
  for (int i = 0; i < 100; ++i) {
    for (int series = 0; series < 4; ++series) {
      BatchBuilder builder;
      builder.histogram(a, "h", bounds, buckets, 1, {{"s", std::to_string(series)}});
      world.aggregate->apply(with(builder, exemplar(i, 1)), world.now);
    }
  }

  const AggregateStatus status = world.aggregate->status();
  CHECK(status.exemplars > 20);
  CHECK(status.exemplars < 300);
  CHECK(status.exemplars + status.exemplars_dropped == 400);
}

TEST_CASE("where OpenMetrics would give a name to two families, one is shown without a type") {
  World world;
  TestPublisher a = world.publisher(1);
  world.aggregate->apply(with(BatchBuilder()
                                  .gauge(a, "jobs", {}, 1)
                                  .gauge(a, "old_created", {}, 2)
                                  .counter(a, "old_total", {}, 3)
                                  .gauge(a, "h_created", {}, 4)
                                  .histogram(a, "h", {1}, {1, 1}, 2, {{"x", "1"}})
                                  .histogram(a, "h", {1}, {1, 0}, 1, {{"x", "2"}})
                                  .counter(a, "h_created_total", {}, 8)
                                  .counter(a, "_total", {}, 9)
                                  .counter(a, "jobs_total", {}, 5),
                              exemplar(1, 1)),
                         world.now);

  CHECK(open_metrics(world) ==
        "# TYPE _total unknown\n_total 9\n"
        "# TYPE h_bucket unknown\n"
        "h_bucket{x=\"1\",le=\"1.0\"} 1\nh_bucket{x=\"1\",le=\"+Inf\"} 2\n"
        "h_bucket{x=\"2\",le=\"1.0\"} 1\nh_bucket{x=\"2\",le=\"+Inf\"} 1\n"
        "# TYPE h_sum unknown\nh_sum{x=\"1\"} 2\nh_sum{x=\"2\"} 1\n"
        "# TYPE h_count unknown\nh_count{x=\"1\"} 2\nh_count{x=\"2\"} 1\n"
        "# TYPE h_created gauge\nh_created 4\n"
        "# TYPE h_created_total unknown\nh_created_total 8\n"
        "# TYPE jobs gauge\njobs 1\n"
        "# TYPE jobs_total unknown\njobs_total 5\n"
        "# TYPE old_created gauge\nold_created 2\n"
        "# TYPE old_total unknown\nold_total 3\n");
}

TEST_CASE("a histogram whose sum may fall is shown without a type") {
  World world;
  TestPublisher a = world.publisher(1);
  world.apply(BatchBuilder().histogram(a, "below", {-1, 1}, {0, 1, 0}, 0.5));
  world.apply(BatchBuilder().histogram(a, "later", {1}, {1, 0}, 0.5));
  CHECK(has(open_metrics(world), "# TYPE below_bucket unknown\n"));
  CHECK(has(open_metrics(world), "# TYPE later histogram\n"));

  world.apply(BatchBuilder().histogram(a, "later", {1}, {2, 0}, -5));

  CHECK_FALSE(has(open_metrics(world), "# TYPE later histogram\n"));
  CHECK(has(open_metrics(world), "# TYPE later_sum unknown\nlater_sum -5\n"));
}

TEST_CASE("since when a total counts is shown when it is asked for, also after a restart") {
  const auto publisher = [](World& world, uint64_t number, uint64_t t0_ns) {
    TestPublisher out = world.publisher(number);
    out.incarnation = std::make_shared<Incarnation>(incarnation_id(number), t0_ns, Resource{},
                                                    10 * kSecond, world.ids);
    return out;
  };
  World world({.created = true});
  TestPublisher a = publisher(world, 1, kNoon - 5 * kSecond);
  TestPublisher earlier = publisher(world, 2, kNoon - 7'250 * kMillisecond);
  TestPublisher ahead = publisher(world, 3, kNoon + 3'600 * kSecond);
  world.apply(BatchBuilder()
                  .counter(a, "c", {{"x", "y"}}, 1)
                  .counter(earlier, "c", {{"x", "y"}}, 1)
                  .histogram(ahead, "h", {}, {1}, 1)
                  .gauge(a, "g", {}, 1));
  world.restart();

  CHECK(open_metrics(world) ==
        "# TYPE c counter\nc_total{x=\"y\"} 2\nc_created{x=\"y\"} 1699999992\n"
        "# TYPE g gauge\ng 1\n"
        "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n"
        "h_created 1700000000\n");
  CHECK_FALSE(has(world.aggregate->render(world.now), "_created"));
  World silent;
  TestPublisher b = publisher(silent, 1, kNoon);
  silent.apply(BatchBuilder().counter(b, "c", {}, 1));
  CHECK_FALSE(has(open_metrics(silent), "_created"));
}
