// SPDX-License-Identifier: Apache-2.0
#include "bus/base/spsc_ring.hpp"

#include <cstdint>
#include <random>
#include <string>
#include <thread>

#include <doctest/doctest.h>

namespace insight {
namespace {

TEST_CASE("records come out whole and in order") {
  SpscRing ring(256);

  CHECK(ring.push("one"));
  CHECK(ring.push(""));
  CHECK(ring.push("three"));

  CHECK(ring.next() == "one");
  CHECK(ring.next() == "");
  CHECK(ring.next() == "three");
  CHECK_FALSE(ring.next().has_value());
}

TEST_CASE("a full ring takes nothing more until room is released") {
  SpscRing ring(64);
  REQUIRE(ring.push(std::string(24, 'a')));
  REQUIRE(ring.push(std::string(24, 'b')));

  CHECK_FALSE(ring.push(""));
  CHECK(ring.used() == 64);
  CHECK(ring.next() == std::string(24, 'a'));
  CHECK_FALSE(ring.push("c"));  // read, not released
  ring.release();

  CHECK(ring.push("c"));
  CHECK(ring.next() == std::string(24, 'b'));
  CHECK(ring.next() == "c");
}

TEST_CASE(
    "a record that is too long for the ring is refused, the longest one always fits an empty "
    "ring") {
  SpscRing ring(1024);
  CHECK_FALSE(ring.push(std::string(ring.max_record() + 1, 'x')));

  const std::string longest(ring.max_record(), 'x');
  for (int i = 0; i < 50; ++i) {
    CAPTURE(i);
    REQUIRE(ring.push(
        std::string(static_cast<size_t>(i) * 7 % 400, 'y')));  // moves the place of writing
    CHECK(ring.next().has_value());
    ring.release();
    REQUIRE(ring.push(longest));
    CHECK(ring.next() == longest);
    ring.release();
  }
}

TEST_CASE("rewind reads again what was not released") {
  SpscRing ring(256);
  ring.push("one");
  ring.push("two");
  CHECK(ring.next() == "one");
  ring.release();
  CHECK(ring.next() == "two");

  ring.rewind();

  CHECK(ring.next() == "two");
  CHECK_FALSE(ring.next().has_value());
}

TEST_CASE("a producer and a consumer thread agree on every byte") {
  constexpr uint32_t kRecords = 100'000;
  SpscRing ring(4096);
  std::thread producer([&] {
    std::minstd_rand random(7);
    for (uint32_t i = 0; i < kRecords; ++i) {
      const std::string record(random() % 200, static_cast<char>('a' + i % 26));
      while (!ring.push(record)) std::this_thread::yield();
    }
  });

  std::minstd_rand random(7);
  std::minstd_rand whim(8);
  uint32_t wrong = 0;
  for (uint32_t i = 0; i < kRecords;) {
    auto record = ring.next();
    if (!record) {
      ring.release();
      std::this_thread::yield();
      continue;
    }
    if (*record != std::string(random() % 200, static_cast<char>('a' + i % 26))) ++wrong;
    ++i;
    if (whim() % 8 == 0) ring.release();
  }
  producer.join();

  CHECK(wrong == 0);
  ring.release();
  CHECK(ring.used() == 0);
}

}  // namespace
}  // namespace insight
