// SPDX-License-Identifier: Apache-2.0
#include <limits>
#include <string>

#include <doctest/doctest.h>

#include "tests/unit/aggregate/world.hpp"

using namespace insight;
using namespace insight::test;

TEST_CASE("counters of several incarnations add up") {
  World world;
  TestPublisher a = world.publisher(1), b = world.publisher(2);

  world.apply(BatchBuilder().counter(a, "c", {{"x", "1"}}, 3).counter(b, "c", {{"x", "1"}}, 4));
  world.apply(BatchBuilder().counter(b, "c", {{"x", "2"}}, 0.5));

  CHECK(world.scrape() == std::map<std::string, std::string>{{R"(c_total{x="1"})", "7"},
                                                             {R"(c_total{x="2"})", "0.5"}});
}

TEST_CASE("the chosen keys of a resource keep incarnations apart and others do not") {
  World world({.resource_labels = {"role"}});
  TestPublisher a =
      world.publisher(1, {{{"host.name", std::string("h1")}, {"role", std::string("x")}}});
  TestPublisher b =
      world.publisher(2, {{{"host.name", std::string("h2")}, {"role", std::string("x")}}});
  TestPublisher c = world.publisher(3, {{{"role", std::string("y")}}});

  world.apply(BatchBuilder().counter(a, "c", {}, 1).counter(b, "c", {}, 2).counter(c, "c", {}, 4));

  CHECK(world.value(R"(c_total{role="x"})") == "3");
  CHECK(world.value(R"(c_total{role="y"})") == "4");
}

TEST_CASE("a counter that falls inside an incarnation is ignored and counted") {
  World world;
  TestPublisher a = world.publisher(1);
  world.apply(BatchBuilder().counter(a, "c", {}, 5));

  const ReasonArray reasons = world.apply(BatchBuilder().counter(a, "c", {}, 4));

  CHECK(dropped(reasons, Reason::regress) == 1);
  CHECK(world.value("c_total") == "5");
  world.apply(BatchBuilder().counter(a, "c", {}, 6));
  CHECK(world.value("c_total") == "6");
}

TEST_CASE("a counter that is no finite number from 0 on is dropped") {
  World world;
  TestPublisher a = world.publisher(1);
  world.apply(BatchBuilder().counter(a, "c", {}, 5));

  const ReasonArray reasons =
      world.apply(BatchBuilder()
                      .counter(a, "c", {}, std::numeric_limits<double>::quiet_NaN())
                      .counter(a, "c", {}, std::numeric_limits<double>::infinity())
                      .counter(a, "c", {}, -1));

  CHECK(dropped(reasons, Reason::bad_value) == 3);
  CHECK(world.value("c_total") == "5");
}

TEST_CASE("delta counters accumulate, also beside cumulative ones") {
  World world;
  TestPublisher a = world.publisher(1), b = world.publisher(2);
  const Family delta{.name = "c", .delta = true};

  world.apply(BatchBuilder().add(a, delta, {}, 2).add(a, delta, {}, 3).counter(b, "c", {}, 10));

  CHECK(world.value("c_total") == "15");
}

TEST_CASE("names that collapse are one series, and inside one incarnation they add up") {
  World world;
  TestPublisher a = world.publisher(1);
  for (double value : {1.0, 2.0}) {
    world.apply(BatchBuilder()
                    .counter(a, "a.b", {}, value)
                    .counter(a, "a_b", {}, 10 * value)
                    .counter(a, "a_b_total", {}, 100 * value));
  }

  CHECK(world.scrape() == std::map<std::string, std::string>{{"a_b_total", "222"}});
}

TEST_CASE("an instrument that is declared again with another help is the same") {
  World world;
  TestPublisher a = world.publisher(1);
  world.apply(BatchBuilder().add(a, {.name = "c", .help = ""}, {{"x", "1"}, {"y", "2"}}, 5));
  world.apply(BatchBuilder().add(a, {.name = "c", .help = "Help"}, {{"y", "2"}, {"x", "1"}}, 6));

  const std::string text = world.aggregate->render(world.now);

  CHECK(text == "# HELP c_total Help\n# TYPE c_total counter\nc_total{x=\"1\",y=\"2\"} 6\n");
}

TEST_CASE("what ended is folded into the total after an hour and still counts") {
  World world;
  TestPublisher a = world.publisher(1), b = world.publisher(2);
  world.apply(BatchBuilder().counter(a, "c", {}, 5).counter(b, "c", {}, 1));
  world.set_life(a, Life::ended);

  for (int i = 0; i < 70; ++i) {
    world.pass(60 * kSecond);
    world.apply(BatchBuilder().counter(b, "c", {}, 1));
    CHECK(world.value("c_total") == "6");
  }

  CHECK(world.aggregate->status().incarnations == 1);
  CHECK(world.aggregate->status().tombstones == 1);
}

TEST_CASE("a lost incarnation keeps its total and continues when it is heard again") {
  World world;
  TestPublisher a = world.publisher(1);
  world.apply(BatchBuilder().counter(a, "c", {}, 5));
  world.set_life(a, Life::lost);
  world.pass(60 * kSecond);
  CHECK(world.value("c_total") == "5");

  world.set_life(a, Life::alive);
  world.apply(BatchBuilder().counter(a, "c", {}, 8));
  world.pass(kSecond);

  CHECK(world.value("c_total") == "8");
  CHECK(world.aggregate->status().resyncs == 0);
}

TEST_CASE("an incarnation that returns after it was retired starts from a baseline") {
  World world;
  TestPublisher a = world.publisher(1), b = world.publisher(2);
  world.apply(BatchBuilder().counter(a, "c", {}, 5).counter(b, "c", {}, 1));
  world.set_life(a, Life::lost);
  world.pass(3'601 * kSecond);
  world.set_life(a, Life::alive);

  world.apply(
      BatchBuilder().counter(a, "c", {}, 50).counter(a, "new", {}, 2).counter(b, "c", {}, 1));
  CHECK(world.value("c_total") == "6");
  world.apply(BatchBuilder().counter(a, "c", {}, 53));

  CHECK(world.value("c_total") == "9");
  // Nothing of a series that nobody ever had can be counted twice.
  CHECK(world.value("new_total") == "2");
  CHECK(world.aggregate->status().resyncs == 1);
}

TEST_CASE("a tombstone lasts seven days") {
  World world;
  TestPublisher a = world.publisher(1);
  world.apply(BatchBuilder().counter(a, "c", {}, 5));
  world.set_life(a, Life::ended);
  world.pass(3'601 * kSecond);
  CHECK(world.aggregate->status().tombstones == 1);

  world.pass(7 * 86'400 * kSecond - 10 * kSecond);
  CHECK(world.aggregate->status().tombstones == 1);
  world.pass(20 * kSecond);

  CHECK(world.aggregate->status().tombstones == 0);
  CHECK(world.aggregate->status().dormant == 0);
}

TEST_CASE("a series that nobody contributes to is not shown and continues when somebody does") {
  World world;
  TestPublisher a = world.publisher(1);
  world.apply(BatchBuilder().counter(a, "c", {}, 5));
  world.set_life(a, Life::ended);
  world.pass(3'599 * kSecond);
  CHECK(world.value("c_total") == "5");
  world.pass(2 * kSecond);
  CHECK(world.aggregate->render(world.now) == "");
  CHECK(world.aggregate->status().series == 0);
  CHECK(world.aggregate->status().dormant == 1);

  TestPublisher b = world.publisher(2);
  world.apply(BatchBuilder().counter(b, "c", {}, 2));

  CHECK(world.value("c_total") == "7");
  CHECK(world.aggregate->status().dormant == 0);
}

TEST_CASE("a series that a living publisher sends no more is shown for an hour") {
  World world;
  TestPublisher a = world.publisher(1);
  world.apply(BatchBuilder().counter(a, "c", {}, 5).counter(a, "d", {}, 1).gauge(a, "g", {}, 1));
  world.pass(3'000 * kSecond);
  world.apply(BatchBuilder().counter(a, "d", {}, 1));
  CHECK(world.scrape().size() == 3);

  world.pass(700 * kSecond);
  CHECK(world.scrape() == std::map<std::string, std::string>{{"d_total", "1"}});
  world.apply(BatchBuilder().counter(a, "c", {}, 6));

  CHECK(world.value("c_total") == "6");
}

TEST_CASE("rounding in a retirement never shows as a fall") {
  World world;
  std::vector<TestPublisher> publishers;
  for (uint64_t i = 0; i < 40; ++i) publishers.push_back(world.publisher(i + 1));
  BatchBuilder first;
  for (size_t i = 0; i < publishers.size(); ++i) {
    first.counter(publishers[i], "c", {}, 0.1 + 1e13 * static_cast<double>(i % 7));
  }
  world.apply(first);
  double before = std::stod(world.value("c_total"));

  for (size_t i = 0; i + 1 < publishers.size(); ++i) {
    world.set_life(publishers[(i * 17) % 39], Life::ended);
    world.pass(3'601 * kSecond);
    world.apply(BatchBuilder().counter(publishers[39], "c", {}, 0.1 + 1e13 * (39 % 7)));
    if (i % 5 == 0) {
      world.restart();
      publishers[39] = world.publisher(40);
      world.apply(BatchBuilder().counter(publishers[39], "c", {}, 0.1 + 1e13 * (39 % 7)));
    }
    const double after = std::stod(world.value("c_total"));
    CHECK(after >= before);
    before = after;
  }
}
