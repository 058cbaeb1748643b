// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>
#include <string>

#include <doctest/doctest.h>

#include "bus/base/arena.hpp"
#include "bus/base/backoff.hpp"
#include "bus/base/clock.hpp"
#include "bus/base/histogram.hpp"
#include "bus/base/log.hpp"
#include "bus/base/result.hpp"

using namespace insight;

TEST_CASE("waits double up to the bound and are drawn from their upper half") {
  Backoff backoff(kSecond, 10 * kSecond, 7);
  for (uint64_t whole : {1, 2, 4, 8, 10, 10}) {
    const uint64_t wait = backoff.next_ns();
    CHECK(wait >= whole * kSecond / 2);
    CHECK(wait <= whole * kSecond);
  }

  backoff.reset();
  CHECK(backoff.next_ns() <= kSecond);
}

TEST_CASE("an arena keeps what it gave out in place while it grows, and aligned") {
  Arena arena(64);
  const std::string_view first = arena.copy("first");
  const char* const at = first.data();
  const std::span<uint64_t> numbers = arena.take<uint64_t>(1000);
  std::iota(numbers.begin(), numbers.end(), 0u);
  for (int i = 0; i < 100; ++i) arena.copy("something that fills chunks");

  CHECK(first.data() == at);
  CHECK(first == "first");
  CHECK(reinterpret_cast<uintptr_t>(numbers.data()) % alignof(uint64_t) == 0);
  CHECK(numbers[999] == 999);
  CHECK(arena.bytes() >= 8000);
  CHECK(arena.take<char>(0).empty());
}

TEST_CASE("a duration on a bound belongs to the bucket below it") {
  DurationHistogram histogram;
  histogram.observe_ns(10'000);
  histogram.observe_ns(10'001);
  histogram.observe_ns(1'000 * kSecond);

  const DurationHistogram::Snapshot snapshot = histogram.snapshot();
  CHECK(snapshot.buckets[0] == 1);
  CHECK(snapshot.buckets[1] == 1);
  CHECK(snapshot.buckets.back() == 1);
  CHECK(snapshot.sum_seconds == doctest::Approx(1000.00002));
}

TEST_CASE("a limited line is let through once a period and tells how many were held back") {
  LogLimit limit(kSecond);
  uint64_t held_back = 0;
  CHECK(limit.allows(5 * kSecond, held_back));
  CHECK_FALSE(limit.allows(5 * kSecond + 1, held_back));
  CHECK_FALSE(limit.allows(5 * kSecond + 2, held_back));
  CHECK(limit.allows(6 * kSecond, held_back));
  CHECK(held_back == 2);
}

TEST_CASE("a result holds its value or its error") {
  const Result<int> good = 4;
  const Result<int> bad = Error{"no"};
  CHECK(good);
  CHECK(*good == 4);
  CHECK_FALSE(bad);
  CHECK(bad.error().message == "no");
}

TEST_CASE("clocks advance and the boot id is the same at each reading") {
  const Now first = read_clocks();
  CHECK(first.wall_ns > 1'600'000'000 * kSecond);
  CHECK(read_clocks().mono_ns >= first.mono_ns);
  CHECK(boot_id() == boot_id());
}
