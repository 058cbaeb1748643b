// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <string>

#include <doctest/doctest.h>

#include "tests/unit/aggregate/world.hpp"

using namespace insight;
using namespace insight::test;

TEST_CASE("histograms of several incarnations add up bucket by bucket") {
  World world;
  TestPublisher a = world.publisher(1), b = world.publisher(2);

  world.apply(BatchBuilder()
                  .histogram(a, "h_seconds", {0.1, 1}, {1, 2, 3}, 10.5, {{"x", "1"}})
                  .histogram(b, "h_seconds", {0.1, 1}, {10, 0, 1}, 2, {{"x", "1"}}));

  CHECK(world.aggregate->render(world.now) ==
        "# TYPE h_seconds histogram\n"
        "h_seconds_bucket{x=\"1\",le=\"0.1\"} 11\n"
        "h_seconds_bucket{x=\"1\",le=\"1\"} 13\n"
        "h_seconds_bucket{x=\"1\",le=\"+Inf\"} 17\n"
        "h_seconds_sum{x=\"1\"} 12.5\n"
        "h_seconds_count{x=\"1\"} 17\n");
}

TEST_CASE("finer bounds are folded into those that came first") {
  World world;
  TestPublisher a = world.publisher(1), b = world.publisher(2);
  world.apply(BatchBuilder().histogram(a, "h", {1, 2}, {1, 1, 1}, 5));

  const ReasonArray reasons =
      world.apply(BatchBuilder().histogram(b, "h", {0.5, 1, 1.5, 2, 3}, {1, 2, 4, 8, 16, 32}, 7));

  CHECK(dropped(reasons, Reason::schema) == 0);
  CHECK(world.value(R"(h_bucket{le="1"})") == "4");
  CHECK(world.value(R"(h_bucket{le="2"})") == "17");
  CHECK(world.value(R"(h_bucket{le="+Inf"})") == "66");
  CHECK(world.value("h_count") == "66");
  CHECK(world.value("h_sum") == "12");
}

TEST_CASE("bounds that lack one of the first are dropped, with both publishers named") {
  World world;
  TestPublisher a = world.publisher(1, {{{"host.name", std::string("h1")},
                                         {"process.pid", int64_t{11}},
                                         {"service.name", std::string("s1")}}});
  TestPublisher b = world.publisher(2, {{{"service.name", std::string("s2")}}});
  world.apply(BatchBuilder().histogram(a, "h", {1, 2}, {1, 1, 1}, 5));

  for (int i = 0; i < 3; ++i) {
    const ReasonArray reasons = world.apply(BatchBuilder().histogram(b, "h", {1, 3}, {1, 1, 1}, 5));
    CHECK(dropped(reasons, Reason::schema) == 1);
  }

  const auto refusals = world.aggregate->status().refusals;
  REQUIRE(refusals.size() == 1);
  CHECK(refusals[0].metric == "h");
  CHECK(refusals[0].reason == Reason::schema);
  CHECK(refusals[0].first == "s1/h1/11 (01000000)");
  CHECK(refusals[0].second == "s2/?/? (02000000)");
  CHECK(refusals[0].points == 3);
  CHECK(world.value("h_count") == "3");
}

TEST_CASE("a bucket that falls costs the whole point") {
  World world;
  TestPublisher a = world.publisher(1);
  world.apply(BatchBuilder().histogram(a, "h", {1}, {5, 5}, 20));

  const ReasonArray reasons = world.apply(BatchBuilder().histogram(a, "h", {1}, {9, 4}, 30));

  CHECK(dropped(reasons, Reason::regress) == 1);
  CHECK(world.value(R"(h_bucket{le="1"})") == "5");
  CHECK(world.value("h_sum") == "20");
}

TEST_CASE("a folded bucket that falls costs the whole point too") {
  World world;
  TestPublisher a = world.publisher(1), b = world.publisher(2);
  world.apply(
      BatchBuilder().histogram(a, "h", {2}, {0, 0}, 0).histogram(b, "h", {1, 2}, {5, 5, 0}, 20));

  // 5 + 5 -> 12 + 0 in the first merged bucket does not fall; 5 + 4 does.
  CHECK(dropped(world.apply(BatchBuilder().histogram(b, "h", {1, 2}, {5, 4, 9}, 30)),
                Reason::regress) == 1);
  CHECK(world.value("h_count") == "10");
  world.apply(BatchBuilder().histogram(b, "h", {1, 2}, {6, 5, 9}, 31));

  CHECK(world.value(R"(h_bucket{le="2"})") == "11");
  CHECK(world.value("h_count") == "20");
}

TEST_CASE("a histogram with the wrong number of buckets or a sum that is no number is dropped") {
  World world;
  TestPublisher a = world.publisher(1);
  const double nan = std::numeric_limits<double>::quiet_NaN();

  CHECK(dropped(world.apply(BatchBuilder().histogram(a, "h", {1}, {1, 1, 1}, 3)), Reason::schema) ==
        1);
  CHECK(dropped(world.apply(BatchBuilder().histogram(a, "h", {1}, {1, 1}, nan)),
                Reason::bad_value) == 1);
  CHECK(dropped(world.apply(BatchBuilder().add(
                    a, {.name = "h", .kind = Kind::histogram, .bounds = {1}}, {}, 4)),
                Reason::bad_value) == 1);
  world.apply(BatchBuilder().histogram(a, "h", {1}, {1, 1}, 3));

  CHECK(world.value("h_count") == "2");
}

TEST_CASE("counts at the end of their range stay there") {
  World world;
  TestPublisher a = world.publisher(1), b = world.publisher(2);
  const uint64_t most = std::numeric_limits<uint64_t>::max();

  world.apply(
      BatchBuilder().histogram(a, "h", {1}, {most, 1}, 3).histogram(b, "h", {1}, {most, 1}, 3));

  CHECK(world.value(R"(h_bucket{le="1"})") == "18446744073709551615");
  CHECK(world.value("h_count") == "18446744073709551615");
}

TEST_CASE("delta histograms accumulate") {
  World world;
  TestPublisher a = world.publisher(1);

  world.apply(BatchBuilder()
                  .histogram(a, "h", {1}, {1, 1}, 3, {}, true)
                  .histogram(a, "h", {1}, {2, 0}, 1, {}, true));

  CHECK(world.value(R"(h_bucket{le="1"})") == "3");
  CHECK(world.value("h_count") == "4");
  CHECK(world.value("h_sum") == "4");
}

TEST_CASE("retired histograms stay in the total and a returning one starts from a baseline") {
  World world;
  TestPublisher a = world.publisher(1), b = world.publisher(2);
  world.apply(BatchBuilder().histogram(a, "h", {1}, {1, 1}, 3).histogram(b, "h", {1}, {1, 0}, 1));
  world.set_life(a, Life::lost);
  world.pass(3'601 * kSecond);
  world.apply(BatchBuilder().histogram(b, "h", {1}, {1, 0}, 1));
  CHECK(world.value("h_count") == "3");

  world.set_life(a, Life::alive);
  world.apply(BatchBuilder().histogram(a, "h", {1}, {4, 6}, 20));
  CHECK(world.value("h_count") == "3");
  world.apply(BatchBuilder().histogram(a, "h", {1}, {5, 6}, 20.5));

  CHECK(world.value("h_count") == "4");
  CHECK(world.value("h_sum") == "4.5");
}

TEST_CASE("the sum of a histogram may fall where values below zero are observed") {
  World world;
  TestPublisher a = world.publisher(1);
  world.apply(BatchBuilder().histogram(a, "h", {0}, {0, 1}, 10));
  CHECK(world.value("h_sum") == "10");

  world.apply(BatchBuilder().histogram(a, "h", {0}, {1, 1}, -5));

  CHECK(world.value("h_sum") == "-5");
}

TEST_CASE("an incarnation that changes its bounds keeps its contribution") {
  World world;
  TestPublisher a = world.publisher(1);
  world.apply(BatchBuilder().histogram(a, "h", {1}, {1, 1}, 3));
  world.apply(BatchBuilder().histogram(a, "h", {1, 2}, {2, 1, 1}, 4));
  world.apply(BatchBuilder().histogram(a, "h", {1}, {3, 2}, 5));

  CHECK(world.value(R"(h_bucket{le="1"})") == "3");
  CHECK(world.value("h_count") == "5");
}
