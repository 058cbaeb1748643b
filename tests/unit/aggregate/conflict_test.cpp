// SPDX-License-Identifier: Apache-2.0
#include <string>

#include <doctest/doctest.h>

#include "tests/unit/aggregate/world.hpp"

using namespace insight;
using namespace insight::test;

TEST_CASE("the first kind of a metric wins and the status names both publishers") {
  World world;
  TestPublisher a = world.publisher(1, {{{"service.name", std::string("first")}}});
  TestPublisher b = world.publisher(2, {{{"service.name", std::string("second")}}});
  world.apply(BatchBuilder().counter(a, "m", {}, 1));

  const ReasonArray reasons =
      world.apply(BatchBuilder().gauge(b, "m", {}, 7).gauge(b, "m", {}, 8).counter(b, "m", {}, 2));

  CHECK(dropped(reasons, Reason::conflict) == 2);
  CHECK(world.scrape() == std::map<std::string, std::string>{{"m_total", "3"}});
  const auto refusals = world.aggregate->status().refusals;
  REQUIRE(refusals.size() == 1);
  CHECK(refusals[0].metric == "m");
  CHECK(refusals[0].first == "first/?/? (01000000)");
  CHECK(refusals[0].second == "second/?/? (02000000)");
  CHECK(refusals[0].points == 2);
}

TEST_CASE("a gauge x and a counter x_total are two metrics") {
  World world;
  TestPublisher a = world.publisher(1);

  world.apply(BatchBuilder().gauge(a, "x", {}, 1).counter(a, "x_total", {}, 2));

  CHECK(world.scrape() == std::map<std::string, std::string>{{"x", "1"}, {"x_total", "2"}});
}

TEST_CASE("no two families share a name of a sample, whichever came first") {
  for (const char* suffix : {"_bucket", "_sum", "_count"}) {
    const std::string derived = std::string("h") + suffix;
    World first, second;
    TestPublisher a = first.publisher(1), b = second.publisher(1);
    first.apply(BatchBuilder().histogram(a, "h", {1}, {1, 0}, 1));
    second.apply(BatchBuilder().gauge(b, derived, {}, 5));

    CHECK(dropped(first.apply(BatchBuilder().gauge(a, derived, {}, 5)), Reason::conflict) == 1);
    CHECK(dropped(second.apply(BatchBuilder().histogram(b, "h", {1}, {1, 0}, 1)),
                  Reason::conflict) == 1);

    CHECK(first.value(derived) != "5");
    CHECK(second.scrape() == std::map<std::string, std::string>{{derived, "5"}});
  }
}

TEST_CASE("names of the bus itself are refused, with all that is derived from them") {
  World world({.reserved_metrics = {"insight_up", "insight_wait_seconds"}});
  TestPublisher a = world.publisher(1);

  const ReasonArray reasons = world.apply(BatchBuilder()
                                              .gauge(a, "insight_up", {}, 1)
                                              .gauge(a, "insight.up", {}, 1)
                                              .gauge(a, "insight_wait_seconds_sum", {}, 1)
                                              .histogram(a, "insight_wait_seconds", {1}, {1, 1}, 2)
                                              .gauge(a, "insight_other", {}, 1));

  CHECK(dropped(reasons, Reason::conflict) == 4);
  CHECK(world.scrape() == std::map<std::string, std::string>{{"insight_other", "1"}});
  CHECK(world.aggregate->status().refusals.at(0).first == "the bus itself");
}

TEST_CASE("another kind may have the name when nobody uses it any more") {
  World world;
  TestPublisher a = world.publisher(1), b = world.publisher(2);
  world.apply(BatchBuilder().counter(a, "m_total", {}, 1).histogram(a, "h", {1}, {1, 1}, 2));
  world.apply(BatchBuilder()
                  .gauge(b, "m_total", {}, 7)
                  .histogram(b, "h", {2}, {5, 5}, 20)
                  .gauge(b, "other", {}, 1));
  CHECK(world.value("m_total") == "1");

  world.set_life(a, Life::ended);
  world.pass(3'601 * kSecond);
  const ReasonArray reasons =
      world.apply(BatchBuilder().gauge(b, "m_total", {}, 7).histogram(b, "h", {2}, {5, 5}, 20));

  CHECK(dropped(reasons, Reason::conflict) == 0);
  CHECK(dropped(reasons, Reason::schema) == 0);
  CHECK(world.value("m_total") == "7");
  CHECK(world.value(R"(h_bucket{le="2"})") == "5");
}

TEST_CASE("exponential histograms are dropped as unsupported") {
  World world;
  TestPublisher a = world.publisher(1);

  const ReasonArray reasons =
      world.apply(BatchBuilder().add(a, {.name = "e", .kind = Kind::exphist}, {}, 0));

  CHECK(dropped(reasons, Reason::unsupported) == 1);
  CHECK(world.aggregate->render(world.now) == "");
}

TEST_CASE("the first help that is not empty wins and is escaped") {
  World world;
  TestPublisher a = world.publisher(1), b = world.publisher(2);
  const auto gauge = [](std::string help) {
    return Family{.name = "g", .kind = Kind::gauge, .help = std::move(help)};
  };

  world.apply(BatchBuilder()
                  .add(a, gauge(""), {}, 1)
                  .add(a, gauge("a \"b\" \\ c\nd"), {}, 1)
                  .add(b, gauge("other"), {}, 1));

  CHECK(world.aggregate->render(world.now) == "# HELP g a \"b\" \\\\ c\\nd\n# TYPE g gauge\ng 1\n");
}

TEST_CASE("series beyond a limit are dropped with the metric named, the others stay exact") {
  World world({.series = 12, .series_per_metric = 10});
  TestPublisher a = world.publisher(1);
  uint64_t refused = 0;
  for (int round = 1; round <= 2; ++round) {
    for (int i = 0; i < 20; ++i) {
      refused +=
          dropped(world.apply(BatchBuilder().counter(a, "m", {{"i", std::to_string(i)}}, round)),
                  Reason::cardinality);
    }
  }
  CHECK(refused == 20);
  world.apply(BatchBuilder().counter(a, "n", {{"i", "1"}}, 1).counter(a, "n", {{"i", "2"}}, 1));
  CHECK(dropped(world.apply(BatchBuilder().counter(a, "o", {}, 1)), Reason::cardinality) == 1);

  CHECK(world.scrape().size() == 12);
  CHECK(world.value(R"(m_total{i="9"})") == "2");
  CHECK(world.value(R"(m_total{i="10"})") == "none");
  const AggregateStatus status = world.aggregate->status();
  CHECK(status.series == 12);
  CHECK(status.refusals.at(0).metric == "m");
  CHECK(status.refusals.at(0).reason == Reason::cardinality);
  CHECK(status.refusals.at(0).points == 20);
  CHECK(status.largest_metrics.at(0) == std::pair<std::string, uint64_t>("m_total", 10));
}

TEST_CASE("what was refused for want of room is taken when there is some") {
  World world({.series_per_metric = 1});
  TestPublisher a = world.publisher(1), b = world.publisher(2);
  world.apply(BatchBuilder().counter(a, "m", {{"i", "a"}}, 1).counter(b, "m", {{"i", "b"}}, 1));
  CHECK(world.scrape().size() == 1);
  world.set_life(a, Life::ended);
  world.pass(3'601 * kSecond);

  world.apply(BatchBuilder().counter(b, "m", {{"i", "b"}}, 2));

  CHECK(world.scrape() == std::map<std::string, std::string>{{R"(m_total{i="b"})", "2"}});
}

TEST_CASE("a new series takes the room of the total that is dormant longest") {
  World world({.series = 3});
  for (uint64_t i = 1; i <= 3; ++i) {
    TestPublisher gone = world.publisher(i);
    world.apply(BatchBuilder().counter(gone, "m" + std::to_string(i), {}, 1));
    world.set_life(gone, Life::ended);
    world.pass(3'601 * kSecond);
  }
  CHECK(world.aggregate->status().dormant == 3);

  TestPublisher a = world.publisher(9);
  world.apply(BatchBuilder().counter(a, "m9", {}, 1));

  CHECK(world.aggregate->status().dormant == 2);
  world.apply(BatchBuilder().counter(a, "m3", {}, 10).counter(a, "m1", {}, 10));
  CHECK(world.value("m3_total") == "11");
  CHECK(world.value("m1_total") == "10");
}

TEST_CASE("huge histograms and labels are bounded by their memory") {
  World world({.bytes = 1 << 20});
  TestPublisher a = world.publisher(1);
  const std::vector<double> bounds = [] {
    std::vector<double> all;
    for (int i = 0; i < 2'047; ++i) all.push_back(i);
    return all;
  }();
  const std::vector<uint64_t> buckets(2'048, 1);
  uint64_t huge = 0, longest = 0;
  for (int i = 0; i < 500; ++i) {
    const Labels labels{{"i", std::to_string(i)}};
    huge += dropped(world.apply(BatchBuilder().histogram(a, "h", bounds, buckets, 1, labels)),
                    Reason::cardinality);
    const Labels text{{"i", std::string(4'000, 'x') + std::to_string(i)}};
    longest += dropped(world.apply(BatchBuilder().counter(a, "c", text, 1)), Reason::cardinality);
  }

  CHECK(huge > 450);
  CHECK(longest > 350);
  CHECK(world.aggregate->save(world.now).size() < 2 << 20);
}

TEST_CASE("when memory gets scarce those gone longest are retired before their time") {
  World world({.bytes = 1 << 20});
  uint64_t refused = 0;
  TestPublisher stays = world.publisher(1'000'000);
  for (uint64_t i = 1; i <= 400; ++i) {
    TestPublisher one = world.publisher(i);
    BatchBuilder batch;
    batch.counter(stays, "c", {{"i", "0"}}, 1);
    for (int s = 0; s < 40; ++s) batch.counter(one, "c", {{"i", std::to_string(s)}}, 1);
    refused += dropped(world.apply(batch), Reason::cardinality);
    world.set_life(one, Life::lost);
    world.pass(kSecond);
  }

  CHECK(refused == 0);
  CHECK(world.value(R"(c_total{i="0"})") == "401");
  CHECK(world.value(R"(c_total{i="39"})") == "400");
  CHECK(world.aggregate->status().incarnations < 300);
  CHECK(world.aggregate->status().tombstones > 100);
}

TEST_CASE("refusals are named up to a limit and counted beyond") {
  World world;
  TestPublisher a = world.publisher(1);
  for (int i = 0; i < 150; ++i) {
    const std::string name = "m" + std::to_string(i);
    world.apply(BatchBuilder().gauge(a, name, {}, 1).histogram(a, name, {1}, {1, 1}, 2));
  }

  const auto refusals = world.aggregate->status().refusals;
  CHECK(refusals.size() == 101);
  CHECK(refusals.back().metric == "");
  CHECK(refusals.back().reason == Reason::conflict);
  CHECK(refusals.back().points == 50);

  world.set_life(a, Life::ended);
  world.pass(3'601 * kSecond);
  CHECK(world.aggregate->status().refusals.size() == 1);
}
