// SPDX-License-Identifier: Apache-2.0
// The runtime of ThreadSanitizer has the allocator for itself.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define INSIGHT_NO_COUNTING
#endif
#elif defined(__SANITIZE_THREAD__)
#define INSIGHT_NO_COUNTING
#endif
#ifndef INSIGHT_NO_COUNTING

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "bus/collectors/intake.hpp"
#include "tests/unit/collectors/messages.hpp"

namespace {

std::atomic<uint64_t> allocations{0};

}  // namespace

void* operator new(size_t bytes) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}

void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return std::malloc(bytes);
}

void operator delete(void* memory) noexcept { std::free(memory); }

void operator delete(void* memory, size_t) noexcept { std::free(memory); }

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

  const uint64_t before = allocations.load();
  intake.take(next, read_clocks());
  intake.deliver(received);
  const uint64_t during = allocations.load() - before;

  CHECK(received.take()[0]->points.size() == 2'000);
  CHECK(during <= 12);
}

}  // namespace
}  // namespace insight

#endif  // INSIGHT_NO_COUNTING
