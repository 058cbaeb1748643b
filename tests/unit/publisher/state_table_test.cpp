// SPDX-License-Identifier: Apache-2.0
#include "publishers/native/state_table.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "bus/base/clock.hpp"

namespace insight::native {
namespace {

struct Fixture {
  Drops drops;
  StateTable table{drops};

  static SpanRecord record(uint64_t start_ns = 1) {
    SpanRecord record("state", "lane");
    record.context.trace_id.fill(1);
    record.context.span_id.fill(2);
    record.start_ns = start_ns;
    return record;
  }

  /// What is due at that moment, all of it; it counts as sent.
  std::vector<StateTable::Due> due(StateTable::When when) {
    when.refresh_ns = 10;
    std::vector<StateTable::Due> all;
    uint64_t after = 0;
    do {
      std::vector<StateTable::Due> some;
      after = table.gather(when, after, some);
      CHECK(some.size() <= 1'000);
      table.sent(some, when.now_mono_ns);
      all.insert(all.end(), some.begin(), some.end());
    } while (after != 0);
    return all;
  }

  std::vector<SpanWhat> kinds(const StateTable::When& when) {
    std::vector<SpanWhat> result;
    for (const auto& one : due(when)) result.push_back(one.what);
    return result;
  }
};

using Kinds = std::vector<SpanWhat>;

TEST_CASE_FIXTURE(Fixture, "a state is told once, again when it is due, and not after its end") {
  const uint64_t id = table.begin(record());
  CHECK(kinds({.now_mono_ns = 100}) == Kinds{SpanWhat::begin});
  CHECK(kinds({.now_mono_ns = 105}) == Kinds{});
  CHECK(kinds({.now_mono_ns = 110}) == Kinds{SpanWhat::open});
  CHECK(kinds({.now_mono_ns = 115}) == Kinds{});
  CHECK(kinds({.now_mono_ns = 116, .all_before_mono_ns = 116}) == Kinds{SpanWhat::open});

  CHECK(table.end(id, "end", SpanStatus::ok, 50));
  CHECK(kinds({.now_mono_ns = 200}) == Kinds{SpanWhat::end});
  CHECK(kinds({.now_mono_ns = 300}) == Kinds{});
  CHECK_FALSE(table.end(id, "end", SpanStatus::ok, 50));
}

TEST_CASE_FIXTURE(Fixture, "what was not sent is due again") {
  const uint64_t id = table.begin(record());
  CHECK(table.end(id, "end", SpanStatus::ok, 50));
  std::vector<StateTable::Due> lost;
  CHECK(table.gather({.now_mono_ns = 100, .refresh_ns = 10}, 0, lost) == 0);
  CHECK(lost.size() == 2);

  const auto again = due({.now_mono_ns = 200});
  REQUIRE(again.size() == 2);
  CHECK(again[0].what == SpanWhat::begin);
  CHECK(again[1].encoded == "end");
}

TEST_CASE_FIXTURE(Fixture, "many states go in several envelopes, in the order of their beginning") {
  for (uint64_t i = 1; i <= 3'000; ++i) CHECK(table.begin(record(i)) == i);
  const auto all = due({.now_mono_ns = 100});
  CHECK(all.size() == 3'000);
  CHECK(std::ranges::is_sorted(all, {}, &StateTable::Due::id));
}

TEST_CASE_FIXTURE(Fixture, "states are bounded in number, and their room is given back") {
  for (size_t i = 0; i < StateTable::kMaxStates; ++i) CHECK(table.begin(record()) != 0);
  CHECK(table.begin(record()) == 0);
  CHECK(drops.get(Drop::state_limit) == 1);

  CHECK(due({.now_mono_ns = 1, .close_wall_ns = 9}).size() == 2 * StateTable::kMaxStates);
  CHECK(table.begin(record()) != 0);
}

TEST_CASE_FIXTURE(Fixture, "states are bounded in bytes; an end without room ends as it began") {
  SpanRecord large = record();
  for (int i = 0; i < 15; ++i) {
    large.attribute("key" + std::to_string(i), std::string(4'000, 'v'), drops);
  }
  std::vector<uint64_t> ids;
  for (uint64_t id = 1; id != 0;) {
    id = table.begin(large);
    if (id != 0) ids.push_back(id);
  }
  CHECK(drops.get(Drop::state_limit) == 1);
  CHECK(ids.size() < 100);

  const std::string later(60'000, 'e');
  for (uint64_t id : ids) CHECK(table.end(id, later, SpanStatus::error, 50));
  CHECK(drops.get(Drop::span_attribute) >= ids.size() - 1);

  size_t ends = 0;
  for (const auto& one : due({.now_mono_ns = 100})) {
    if (one.what != SpanWhat::end || one.encoded == later) continue;
    std::string as_it_began;
    SpanRecord expected = large;
    expected.status = SpanStatus::error;
    expected.encode(SpanWhat::end, 50, as_it_began);
    CHECK(one.encoded == as_it_began);
    ++ends;
  }
  CHECK(ends >= ids.size() - 1);
  CHECK(table.begin(large) != 0);
}

}  // namespace
}  // namespace insight::native
