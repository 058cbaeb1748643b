// SPDX-License-Identifier: Apache-2.0
#include "tests/support/allocations.hpp"

#ifndef INSIGHT_NO_COUNTING

#include <memory>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "bus/collectors/intake.hpp"
#include "tests/unit/collectors/messages.hpp"

namespace insight {
namespace {

TEST_CASE("known series cost a handful of allocations a batch and none a point") {
  Intake intake({}, {}, std::make_shared<SeriesIds>());
  Received received;
  TestPublisher publisher(1);
  const std::string counter = family_of("requests_total", Kind::counter, {"route"});
  const std::string histogram = family_of("latency_seconds", Kind::histogram, {"route"}, {0.1, 1});
  const std::vector<uint64_t> buckets{1, 1, 1};
  const auto message = [&] {
    return publisher.message([&](wire::EnvelopeWriter& writer) {
      writer.family(counter);
      for (int i = 0; i < 1'000; ++i) writer.point(labels_of({std::to_string(i)}), i);
      writer.family(histogram);
      for (int i = 0; i < 1'000; ++i) {
        writer.point(labels_of({std::to_string(i)}),
                     HistogramValue{.count = 3, .sum = 1, .buckets = buckets});
      }
    });
  };
  for (int i = 0; i < 5; ++i) {
    intake.take(message(), read_clocks());
    intake.deliver(received);
  }
  const std::string next = message();
  received.take();

  const uint64_t before = test::allocations.load();
  intake.take(next, read_clocks());
  intake.deliver(received);
  const uint64_t during = test::allocations.load() - before;

  CHECK(received.take()[0]->points.size() == 2'000);
  CHECK(during <= 12);
}

}  // namespace
}  // namespace insight

#endif  // INSIGHT_NO_COUNTING
