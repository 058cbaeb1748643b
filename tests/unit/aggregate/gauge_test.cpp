// SPDX-License-Identifier: Apache-2.0
#include <limits>
#include <string>

#include <doctest/doctest.h>

#include "tests/unit/aggregate/world.hpp"

using namespace insight;
using namespace insight::test;

namespace {

std::string merged(GaugeMode mode, std::initializer_list<double> values) {
  World world;
  uint64_t number = 0;
  for (double value : values) {
    TestPublisher publisher = world.publisher(++number);
    world.apply(BatchBuilder().gauge(publisher, "g", {}, value, mode));
  }
  return world.value("g");
}

}  // namespace

TEST_CASE("gauges go by their mode") {
  CHECK(merged(GaugeMode::last, {1, 5, 3}) == "3");
  CHECK(merged(GaugeMode::sum, {1, 5, 3}) == "9");
  CHECK(merged(GaugeMode::min, {2, 1.5, 3}) == "1.5");
  CHECK(merged(GaugeMode::max, {1, 5, 3}) == "5");
  CHECK(merged(GaugeMode::mean, {1, 5, 3}) == "3");
}

TEST_CASE("a gauge of mode each is shown once for each publisher") {
  World world;
  TestPublisher a = world.publisher(1), b = world.publisher(2);

  world.apply(BatchBuilder()
                  .gauge(a, "g", {{"x", "1"}}, 1, GaugeMode::each)
                  .gauge(b, "g", {{"x", "1"}}, 2, GaugeMode::each)
                  .gauge(b, "g", {}, 3, GaugeMode::each));

  CHECK(world.scrape() == std::map<std::string, std::string>{
                              {R"(g{x="1",publisher="01000000000000000000000000000001"})", "1"},
                              {R"(g{x="1",publisher="02000000000000000000000000000001"})", "2"},
                              {R"(g{publisher="02000000000000000000000000000001"})", "3"}});
}

TEST_CASE("gauges of one publisher whose names collapse are shown once") {
  World world;
  TestPublisher a = world.publisher(1);

  world.apply(BatchBuilder()
                  .gauge(a, "g.x", {}, 1, GaugeMode::each)
                  .gauge(a, "g_x", {}, 2, GaugeMode::each));

  CHECK(world.scrape() == std::map<std::string, std::string>{
                              {R"(g_x{publisher="01000000000000000000000000000001"})", "2"}});
}

TEST_CASE("special values and integers are shown as Prometheus writes them") {
  const double inf = std::numeric_limits<double>::infinity();
  CHECK(merged(GaugeMode::last, {std::numeric_limits<double>::quiet_NaN()}) == "NaN");
  CHECK(merged(GaugeMode::last, {inf}) == "+Inf");
  CHECK(merged(GaugeMode::last, {-inf}) == "-Inf");
  CHECK(merged(GaugeMode::last, {9007199254740991.0}) == "9007199254740991");
  CHECK(merged(GaugeMode::last, {1e15}) == "1000000000000000");
  CHECK(merged(GaugeMode::last, {0.1}) == "0.1");
  CHECK(merged(GaugeMode::last, {-3.0}) == "-3");
  CHECK(merged(GaugeMode::last, {5e-324}) == "5e-324");
  CHECK(merged(GaugeMode::last, {1.7976931348623157e308}) == "1.7976931348623157e+308");
  CHECK(merged(GaugeMode::sum, {inf, -inf}) == "NaN");
  CHECK(merged(GaugeMode::max, {std::numeric_limits<double>::quiet_NaN(), 2}) == "2");
}

TEST_CASE("a refresh does not pass for a newer change") {
  World world;
  TestPublisher a = world.publisher(1), b = world.publisher(2);
  world.apply(BatchBuilder().gauge(a, "g", {}, 1).gauge(b, "g", {}, 2));

  world.apply(BatchBuilder().gauge(a, "g", {}, 1));
  CHECK(world.value("g") == "2");
  world.restart();
  a = world.publisher(1), b = world.publisher(2);
  world.apply(BatchBuilder().gauge(b, "g", {}, 2).gauge(a, "g", {}, 1));
  CHECK(world.value("g") == "2");

  world.apply(BatchBuilder().gauge(a, "g", {}, 3));
  CHECK(world.value("g") == "3");
}

TEST_CASE("a gauge stays for a minute after bye") {
  World world;
  TestPublisher a = world.publisher(1);
  world.apply(BatchBuilder().gauge(a, "g", {}, 1));
  world.set_life(a, Life::ended);

  world.pass(59 * kSecond);
  CHECK(world.value("g") == "1");
  world.pass(kSecond);

  CHECK(world.value("g") == "none");
}

TEST_CASE("the gauge of a lost publisher leaves at once and returns when it is heard again") {
  World world;
  TestPublisher a = world.publisher(1), b = world.publisher(2);
  world.apply(
      BatchBuilder().gauge(b, "g", {}, 2, GaugeMode::sum).gauge(a, "g", {}, 1, GaugeMode::sum));
  world.set_life(a, Life::late);
  CHECK(world.value("g") == "3");
  world.set_life(a, Life::lost);
  CHECK(world.value("g") == "2");
  world.set_life(a, Life::alive);
  CHECK(world.value("g") == "3");

  world.set_life(a, Life::lost);
  world.pass(kSecond);
  CHECK(world.value("g") == "2");
  world.set_life(a, Life::alive);
  world.apply(BatchBuilder().gauge(a, "g", {}, 1, GaugeMode::sum));

  CHECK(world.value("g") == "3");
}

TEST_CASE("a life sign without records is enough to bring a gauge back") {
  World world;
  TestPublisher a = world.publisher(1);
  world.apply(BatchBuilder().gauge(a, "g", {}, 1));
  world.set_life(a, Life::lost);
  world.pass(kSecond);
  world.set_life(a, Life::alive);

  BatchBuilder beat;
  beat.batch.segments.push_back({.incarnation = a.incarnation});
  world.apply(beat);

  CHECK(world.value("g") == "1");
}

TEST_CASE("gauges of a snapshot are shown until their publishers had time to be heard") {
  World world;
  TestPublisher a = world.publisher(1), b = world.publisher(2), c = world.publisher(3);
  world.apply(BatchBuilder()
                  .gauge(a, "g", {{"p", "a"}}, 1)
                  .gauge(b, "g", {{"p", "b"}}, 2)
                  .gauge(c, "g", {{"p", "c"}}, 3));
  world.set_life(c, Life::ended);
  world.pass(50 * kSecond);
  world.restart();
  CHECK(world.scrape().size() == 3);

  TestPublisher a2 = world.publisher(1);
  world.apply(BatchBuilder().gauge(a2, "g", {{"p", "a"}}, 1));
  world.pass(15 * kSecond);
  CHECK(world.scrape().size() == 2);
  CHECK(world.value(R"(g{p="c"})") == "none");
  world.pass(15 * kSecond);

  CHECK(world.scrape() == std::map<std::string, std::string>{{R"(g{p="a"})", "1"}});
}

TEST_CASE("a gauge is forgotten with its publisher") {
  World world;
  TestPublisher a = world.publisher(1);
  world.apply(BatchBuilder().gauge(a, "g", {}, 1));
  world.set_life(a, Life::ended);
  world.pass(3'601 * kSecond);

  CHECK(world.aggregate->status().series == 0);
  CHECK(world.aggregate->status().dormant == 0);
  CHECK(world.aggregate->status().tombstones == 0);
  CHECK(world.aggregate->status().incarnations == 0);
}
