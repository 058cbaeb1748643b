// SPDX-License-Identifier: Apache-2.0
#include "tests/support/allocations.hpp"

#ifndef INSIGHT_NO_COUNTING

#include <string>

#include <doctest/doctest.h>

#include "tests/unit/aggregate/world.hpp"

namespace insight::test {

TEST_CASE("points of known series, taken or refused, allocate nothing") {
  World world;
  TestPublisher a = world.publisher(1);
  const auto batch = [&](double value) {
    BatchBuilder builder;
    for (int i = 0; i < 200; ++i) {
      const Labels labels{{"i", std::to_string(i)}};
      const auto n = static_cast<uint64_t>(value);
      builder.counter(a, "c", labels, value).gauge(a, "g", labels, value);
      builder.histogram(a, "h", {1, 2}, {n, n, n}, value, labels);
      builder.histogram(a, "h", {1, 1.5, 2}, {n, n, n, n}, value, {{"finer", "1"}});
      builder.gauge(a, "c", labels, value);         // conflict
      builder.counter(a, "falls", labels, -value);  // bad value
    }
    return builder;
  };
  world.apply(batch(1));
  world.apply(batch(2));
  const BatchBuilder next = batch(3);

  const uint64_t before = allocations.load();
  const ReasonArray reasons = world.apply(next);
  const uint64_t during = allocations.load() - before;

  CHECK(during == 0);
  CHECK(dropped(reasons, Reason::conflict) == 200);
  CHECK(dropped(reasons, Reason::bad_value) == 200);
  CHECK(world.value(R"(c_total{i="7"})") == "3");
  CHECK(world.value(R"(h_count{i="7"})") == "9");
}

}  // namespace insight::test

#endif  // INSIGHT_NO_COUNTING
