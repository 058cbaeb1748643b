// SPDX-License-Identifier: Apache-2.0
#include "bus/aggregate/merge_key.hpp"

#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/unit/aggregate/world.hpp"

using namespace insight;
using namespace insight::test;

namespace {

std::string text_of(const Labels& labels, const Resource& resource = {},
                    const std::vector<std::string>& keys = {}, std::string_view reserved = {}) {
  TestPublisher publisher(1, std::make_shared<SeriesIds>());
  return label_text(publisher.series(Family{.name = "m"}, labels), resource, keys, reserved);
}

}  // namespace

TEST_CASE("characters that are not allowed in a name become an underscore each") {
  CHECK(metric_name("rl.step-time") == "rl_step_time");
  CHECK(metric_name("ns:rule") == "ns:rule");
  CHECK(metric_name("9lives") == "_lives");
  CHECK(metric_name("größe") == "gr__e");
  CHECK(metric_name("") == "_");
  CHECK(label_name("a:b") == "a_b");
  CHECK(label_name("service.name") == "service_name");
  CHECK(label_name("__name__") == "_name__");
  CHECK(label_name("____") == "_");
  CHECK(label_name("_x") == "_x");
}

TEST_CASE("a counter's name ends with _total and other names stay") {
  CHECK(exposed_name({.name = "steps"}) == "steps_total");
  CHECK(exposed_name({.name = "steps_total"}) == "steps_total");
  CHECK(exposed_name({.name = "steps", .kind = Kind::gauge}) == "steps");
  CHECK(exposed_name({.name = "steps", .kind = Kind::histogram}) == "steps");
}

TEST_CASE("labels are sorted by name and escaped") {
  CHECK(text_of({}) == "");
  CHECK(text_of({{"b", "2"}, {"a", "1"}}) == R"(a="1",b="2")");
  CHECK(text_of({{"a", "x\\y\"z\n"}}) == R"(a="x\\y\"z\n")");
  CHECK(text_of({{"a", std::string("x\0y", 3)}}) == "a=\"x\xEF\xBF\xBDy\"");
}

TEST_CASE("an empty value is no label") {
  CHECK(text_of({{"a", ""}, {"b", "2"}}) == R"(b="2")");
  CHECK(text_of({{"a", ""}}) == "");
}

TEST_CASE("chosen keys of the resource become labels, but a label of the point wins") {
  const Resource resource{
      {{"host.name", std::string("h1")}, {"rank", int64_t{3}}, {"role", std::string("trainer")}}};

  CHECK(text_of({{"a", "1"}}, resource, {"role", "rank", "zone"}) ==
        R"(a="1",rank="3",role="trainer")");
  CHECK(text_of({{"role", "mine"}}, resource, {"role"}) == R"(role="mine")");
  CHECK(text_of({{"role", ""}}, resource, {"role"}) == "");
  CHECK(text_of({{"host_name", "mine"}}, resource, {"host.name"}) == R"(host_name="mine")");
  CHECK(text_of({}, resource, {"host.name"}) == R"(host_name="h1")");
}

TEST_CASE("labels whose names collapse are one, with both values") {
  CHECK(text_of({{"a_b", "2"}, {"a.b", "1"}}) == R"(a_b="1;2")");
  CHECK(text_of({{"a_b", "2"}, {"a.b", ""}}) == R"(a_b="2")");
  CHECK(text_of({{"a.b", "1"}, {"a_b", "2"}, {"a-b", "3"}, {"c", "4"}}) == R"(a_b="3;1;2",c="4")");
}

TEST_CASE("a label that rendering adds itself keeps its meaning") {
  CHECK(text_of({{"le", "1"}}, {}, {}, reserved_label(Kind::histogram, GaugeMode::last)) ==
        R"(exported_le="1")");
  CHECK(text_of({{"publisher", "p"}}, {}, {}, reserved_label(Kind::gauge, GaugeMode::each)) ==
        R"(exported_publisher="p")");
  CHECK(text_of({{"le", "1"}}, {}, {}, reserved_label(Kind::counter, GaugeMode::last)) ==
        R"(le="1")");
}

TEST_CASE("an instrument is its name and labels, whatever its help, unit, bounds and order") {
  TestPublisher publisher(1, std::make_shared<SeriesIds>());
  const auto hash = [&](const Family& family, const Labels& labels) {
    return instrument_hash(publisher.series(family, labels), 7);
  };
  const uint64_t one = hash({.name = "m"}, {{"a", "1"}, {"b", "2"}});

  CHECK(hash({.name = "m", .help = "other"}, {{"b", "2"}, {"a", "1"}}) == one);
  CHECK(hash({.name = "m", .bounds = {1, 2}}, {{"a", "1"}, {"b", "2"}}) == one);
  CHECK(hash({.name = "n"}, {{"a", "1"}, {"b", "2"}}) != one);
  CHECK(hash({.name = "m"}, {{"a", "1"}, {"b", "3"}}) != one);
  CHECK(hash({.name = "m"}, {{"a", "1"}}) != one);
  CHECK(hash({.name = "m"}, {{"a", "2"}, {"b", "1"}}) != one);
}
