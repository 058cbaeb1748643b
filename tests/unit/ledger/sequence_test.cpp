// SPDX-License-Identifier: Apache-2.0
#include "bus/ledger/sequence.hpp"

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <vector>

#include <doctest/doctest.h>

namespace insight {
namespace {

using Arrival = Sequence::Arrival;

constexpr uint64_t kStart = 1'000 * kSecond;

TEST_CASE("numbers in order are fresh and leave no gap") {
  Sequence sequence;

  for (uint64_t n = 1; n <= 3'000; ++n) CHECK(sequence.arrive(n, kStart) == Arrival::fresh);

  sequence.settle(kStart + 100 * kSecond);
  CHECK(sequence.gaps() == 0);
  CHECK(sequence.highest() == 3'000);
  CHECK(sequence.settle_at_ns() == 0);
}

TEST_CASE("a hole becomes a gap after five seconds, not before") {
  Sequence sequence;
  sequence.arrive(1, kStart);
  sequence.arrive(4, kStart);

  sequence.settle(kStart + 5 * kSecond - 1);
  CHECK(sequence.gaps() == 0);
  CHECK(sequence.is_open_below(4));
  sequence.settle(sequence.settle_at_ns());

  CHECK(sequence.gaps() == 2);
  CHECK_FALSE(sequence.is_open_below(4));
  sequence.settle(kStart + 100 * kSecond);
  CHECK(sequence.gaps() == 2);
}

TEST_CASE("a number that fills a hole in time is late and no gap") {
  Sequence sequence;
  sequence.arrive(1, kStart);
  sequence.arrive(3, kStart);

  CHECK(sequence.arrive(2, kStart + kSecond) == Arrival::late);
  CHECK(sequence.arrive(2, kStart + kSecond) == Arrival::duplicate);

  sequence.settle(kStart + 100 * kSecond);
  CHECK(sequence.gaps() == 0);
}

TEST_CASE("a number that was counted as a gap is still taken, once, and stays counted") {
  Sequence sequence;
  sequence.arrive(1, kStart);
  sequence.arrive(3, kStart);
  sequence.settle(kStart + 10 * kSecond);

  CHECK(sequence.arrive(2, kStart + 11 * kSecond) == Arrival::late);
  CHECK(sequence.arrive(2, kStart + 12 * kSecond) == Arrival::duplicate);
  CHECK(sequence.gaps() == 1);
}

TEST_CASE("what came before the first number seen is taken and never a gap") {
  Sequence sequence;
  CHECK(sequence.arrive(500, kStart) == Arrival::fresh);
  CHECK(sequence.arrive(499, kStart) == Arrival::late);
  CHECK(sequence.arrive(499, kStart) == Arrival::duplicate);

  for (uint64_t n = 501; n < 3'000; ++n) sequence.arrive(n, kStart);

  sequence.settle(kStart + 100 * kSecond);
  CHECK(sequence.gaps() == 0);
  CHECK(sequence.arrive(498, kStart) == Arrival::duplicate);
}

TEST_CASE("the largest number there is neither overflows nor makes the count of gaps fall") {
  Sequence sequence;
  sequence.arrive(1, kStart);
  CHECK(sequence.arrive(UINT64_MAX, kStart) == Arrival::fresh);
  const uint64_t gaps = sequence.gaps();
  CHECK(gaps > UINT64_MAX / 2);
  CHECK(sequence.arrive(UINT64_MAX - 1, kStart) == Arrival::late);
  CHECK(sequence.arrive(UINT64_MAX, kStart) == Arrival::duplicate);

  sequence.settle(kStart + 100 * kSecond);

  CHECK(sequence.gaps() == gaps + 1'022);
}

TEST_CASE("a sequence that is saved and loaded goes on as before") {
  Sequence before;
  for (uint64_t n : {1u, 2u, 5u, 6u, 2'000u}) before.arrive(n, kStart);
  before.settle(kStart + 10 * kSecond);
  before.arrive(2'010, kStart + 20 * kSecond);

  Sequence after;
  REQUIRE(after.load(before.first(), before.highest(), before.counted(), before.gaps(),
                     before.save_holes(), kStart + 21 * kSecond));

  CHECK(after.gaps() == before.gaps());
  for (uint64_t n = 1; n <= 2'011; ++n) CHECK(after.is_missing(n) == before.is_missing(n));
  before.settle(kStart + 100 * kSecond);
  after.settle(kStart + 100 * kSecond);
  CHECK(after.gaps() == before.gaps());
}

TEST_CASE("a saved state that is impossible is refused") {
  Sequence sequence;
  CHECK_FALSE(sequence.load(0, 5, 5, 0, "", kStart));
  CHECK_FALSE(sequence.load(6, 5, 5, 0, "", kStart));
  CHECK_FALSE(sequence.load(1, 5, 6, 0, "", kStart));
  CHECK_FALSE(sequence.load(1, 5, 5, 0, "short", kStart));
  CHECK(sequence.load(1, 5, 5, 0, std::string(128, '\xff'), kStart));
  CHECK_FALSE(sequence.is_missing(5));
  CHECK(sequence.is_missing(4));
}

/// The same by brute force: every number and every time is kept.
class Oracle {
 public:
  Arrival arrive(uint64_t seq, uint64_t now_ns) {
    if (highest_ == 0) {
      highest_ = first_ = seq;
      received_.insert(seq);
      return Arrival::fresh;
    }
    const bool is_new = !received_.contains(seq);
    if (seq <= highest_ && (!is_new || highest_ - seq >= Sequence::kWindow))
      return Arrival::duplicate;
    settle(now_ns);
    received_.insert(seq);
    if (seq < highest_) {
      open_.erase(seq);
      return Arrival::late;
    }
    for (uint64_t n = highest_ + 1; n < seq; ++n) open_[n] = now_ns;
    highest_ = seq;
    settle(now_ns);
    return Arrival::fresh;
  }

  void settle(uint64_t now_ns) {
    for (auto hole = open_.begin(); hole != open_.end();) {
      const bool has_left = highest_ - hole->first >= Sequence::kWindow;
      if (has_left || now_ns >= hole->second + 5 * kSecond) surely_or_maybe_.insert(hole->first);
      if (has_left || now_ns >= hole->second + 6 * kSecond) {
        surely_.insert(hole->first);
        hole = open_.erase(hole);
      } else {
        ++hole;
      }
    }
  }

  uint64_t least() const { return surely_.size(); }

  uint64_t most() const { return surely_or_maybe_.size(); }

 private:
  uint64_t first_ = 0;
  uint64_t highest_ = 0;
  std::set<uint64_t> received_;
  std::map<uint64_t, uint64_t> open_;
  std::set<uint64_t> surely_;
  std::set<uint64_t> surely_or_maybe_;
};

TEST_CASE("thousands of random losses, repeats and reorderings are judged as by brute force") {
  std::mt19937_64 random(20'240'817);
  const auto below = [&](uint64_t n) { return random() % n; };
  for (int round = 0; round < 3'000; ++round) {
    // One round: a stream with its own kind of trouble.
    const uint64_t loss = below(3) == 0 ? below(60) : below(5);
    const uint64_t repeat = below(10);
    const uint64_t shuffle = below(4) == 0 ? below(1'500) + 1 : below(8) + 1;
    const uint64_t pace_ns = below(3) == 0 ? 0 : below(kSecond / 4);
    std::vector<uint64_t> stream;
    const uint64_t first = below(2) == 0 ? 1 : below(3'000) + 1;
    const uint64_t length = below(40) == 0 ? 4'000 : below(60) + 1;
    for (uint64_t n = first; n < first + length; ++n) {
      if (below(100) < loss) continue;
      stream.push_back(n);
      if (below(100) < repeat) stream.push_back(n);
      if (below(500) == 0) n += below(2'000);
    }
    for (size_t i = 0; i < stream.size() && below(3) == 0; ++i) {
      std::swap(stream[i], stream[std::min<size_t>(stream.size() - 1, i + below(shuffle))]);
    }
    Sequence sequence;
    Oracle oracle;
    uint64_t now_ns = kStart;
    for (uint64_t n : stream) {
      now_ns += pace_ns == 0 ? 0 : below(2 * pace_ns);
      const Arrival expected = oracle.arrive(n, now_ns);
      const Arrival got = sequence.arrive(n, now_ns);
      REQUIRE(got == expected);
      oracle.settle(now_ns);
      sequence.settle(now_ns);
      REQUIRE(sequence.gaps() >= oracle.least());
      REQUIRE(sequence.gaps() <= oracle.most());
    }
    now_ns += 10 * kSecond;
    oracle.settle(now_ns);
    sequence.settle(now_ns);
    REQUIRE(sequence.gaps() >= oracle.least());
    REQUIRE(sequence.gaps() <= oracle.most());
    if (pace_ns == 0) REQUIRE(oracle.least() == oracle.most());
  }
}

}  // namespace
}  // namespace insight
