// SPDX-License-Identifier: Apache-2.0
#include "tests/support/allocations.hpp"

#include <algorithm>
#include <cstdint>

#include <doctest/doctest.h>

#include <insight/insight.hpp>

#ifndef INSIGHT_NO_COUNTING

namespace insight {
namespace {

TEST_CASE("recording allocates nothing, inside of a span neither") {
  // Nobody listens.  The flush thread looks for a broker now and then, so only its first look may
  // fall into what is counted; hence the smallest of some rounds.
  Publisher publisher({.service = "test", .endpoint = "ipc:///nonexistent/bus.ipc"});
  const Counter counter = publisher.counter("a_total");
  const Gauge gauge = publisher.gauge("g");
  const Histogram histogram = publisher.histogram("took_seconds");
  const ActiveSpan span = publisher.span("decode");
  counter.add(1);
  histogram.observe(0);

  uint64_t least = 1;
  for (int round = 0; round < 50 && least != 0; ++round) {
    const uint64_t before = test::allocations;
    for (int i = 0; i < 100; ++i) {
      counter.add(1);
      gauge.set(i);
      histogram.observe(round * 100 + i);  // always the largest: each becomes the exemplar
    }
    least = std::min<uint64_t>(least, test::allocations - before);
  }
  CHECK(least == 0);
}

}  // namespace
}  // namespace insight

#endif
