// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <memory>
#include <set>
#include <string>

#include <doctest/doctest.h>

#include "bus/base/clock.hpp"
#include "bus/model/batch.hpp"
#include "bus/model/incarnation.hpp"
#include "bus/model/reason.hpp"
#include "bus/model/resource.hpp"

using namespace insight;

TEST_CASE("each reason has a text of its own") {
  std::set<std::string_view> texts;
  for (size_t i = 0; i < kReasonCount; ++i) texts.insert(to_string(static_cast<Reason>(i)));

  CHECK(texts.size() == kReasonCount);
  CHECK(texts.count("unknown") == 0);
  CHECK(texts.count("") == 0);
  CHECK(to_string(Reason::stopped) == "stopped");
}

TEST_CASE("a resource is found by key and its scalars have a text") {
  const Resource resource{
      {{"rank", int64_t{-3}}, {"role", std::string("trainer")}, {"share", 0.5}, {"spot", true}}};

  CHECK(to_text(*resource.find("rank")) == "-3");
  CHECK(to_text(*resource.find("role")) == "trainer");
  CHECK(to_text(*resource.find("share")) == "0.5");
  CHECK(to_text(*resource.find("spot")) == "true");
  CHECK(resource.find("ran") == nullptr);
  CHECK(resource.find("zone") == nullptr);
}

TEST_CASE("an incarnation copies label values, never moves a series, and gives its numbers back") {
  const auto ids = std::make_shared<SeriesIds>();
  const auto family = std::make_shared<const Family>(Family{.name = "f", .label_keys = {"a", "b"}});
  {
    Incarnation incarnation({}, 1, {}, kSecond, ids);
    std::string value = "first value";
    const std::array<std::string_view, 2> values{value, ""};
    const Series& first = incarnation.add_series(family, values);
    value.assign("something else");
    for (int i = 0; i < 1000; ++i) incarnation.add_series(family, values);

    CHECK(first.label_values[0] == "first value");
    CHECK(first.label_values[1].empty());
    CHECK(first.incarnation == &incarnation);
    CHECK(incarnation.series_count() == 1001);
    CHECK(ids->in_use() == 1001);
    CHECK(incarnation.bytes() > 1001 * sizeof(Series));
  }
  CHECK(ids->in_use() == 0);
  CHECK(ids->take() <= 1001);
}
