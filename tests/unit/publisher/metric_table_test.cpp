// SPDX-License-Identifier: Apache-2.0
#include "publishers/native/metric_table.hpp"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "bus/base/clock.hpp"
#include "bus/wire/decoder.hpp"
#include "bus/wire/limits.hpp"
#include "publishers/native/process.hpp"

namespace insight::native {
namespace {

// The cells under test are the fixture's own; the process only knows this thread's record of them.
struct Fixture {
  CellSpace cells;
  Drops drops;
  MetricTable table{nullptr, cells, drops};

  Fixture() { Process::instance(); }

  ~Fixture() {
    leave_thread();
    Process::fold_at_exit(nullptr);
    cells.forget_all();
  }

  Instrument* counter(std::string_view name, const Labels& labels = {}) {
    return table.find_or_add({.name = name, .kind = Kind::counter}, labels);
  }

  Instrument* histogram(std::string_view name, std::vector<double> bounds = {}) {
    return table.find_or_add({.name = name, .kind = Kind::histogram, .bounds = bounds}, {});
  }

  void add(const Instrument* instrument, double n) { cells.add(instrument->cell, n); }

  /// Everything that is due now, by one gather after the other; the number of envelopes.
  size_t gather(std::vector<MetricTable::Sent>& all, uint64_t now_ns,
                uint64_t refresh_ns = 15 * kSecond, uint64_t all_before_ns = 0) {
    MetricTable::Cursor cursor;
    size_t envelopes = 0;
    do {
      wire::EnvelopeWriter writer;
      writer.start({.inc = IncarnationId{{1}}, .seq = 1, .t0_ns = 1, .resource = "\x80"});
      std::vector<MetricTable::Sent> sent;
      table.gather(
          {.now_mono_ns = now_ns, .refresh_ns = refresh_ns, .all_before_mono_ns = all_before_ns},
          cursor, writer, sent);
      if (sent.empty()) continue;
      ++envelopes;
      wire::Decoder decoder;
      const std::string message(writer.finish(read_clocks()));
      CHECK(decoder.decode(message, wall_now_ns()));
      CHECK(message.size() < (70u << 10));
      for (const auto& one : sent) {
        one.instrument->sent_value = one.value;
        one.instrument->sent_sum = one.sum;
        one.instrument->sent_mono_ns = now_ns;
      }
      all.insert(all.end(), sent.begin(), sent.end());
    } while (!cursor.is_at_start());
    return envelopes;
  }

  std::vector<MetricTable::Sent> gathered(uint64_t now_ns, uint64_t refresh_ns = 15 * kSecond,
                                          uint64_t all_before_ns = 0) {
    std::vector<MetricTable::Sent> all;
    gather(all, now_ns, refresh_ns, all_before_ns);
    return all;
  }
};

TEST_CASE_FIXTURE(Fixture, "the same name and labels in any order are the same instrument") {
  Instrument* first = counter("a_total", {{"x", "1"}, {"y", "2"}});

  CHECK(counter("a_total", {{"y", "2"}, {"x", "1"}}) == first);
  CHECK(counter("a_total", {{"x", "1"}, {"y", "3"}}) != first);
  CHECK(counter("a_total", {{"x", "1"}}) != first);
  CHECK(table.child(*counter("a_total", {{"x", "1"}}), {{"y", "2"}}) == first);
  CHECK(table.child(*first, {{"x", "1"}}) == first);
  CHECK(table.size() == 3);
}

TEST_CASE_FIXTURE(Fixture, "label values that contain each other's text stay apart") {
  CHECK(counter("a_total", {{"x", "1y"}}) != counter("a_total", {{"x1", "y"}}));
  CHECK(counter("a_total", {{"a", "b"}, {"c", ""}}) != counter("a_total", {{"a", ""}, {"c", "b"}}));
}

TEST_CASE_FIXTURE(Fixture,
                  "a name in use for another kind or other bounds is refused and counted") {
  REQUIRE(counter("a") != nullptr);
  REQUIRE(histogram("h", {1, 2}) != nullptr);

  CHECK(histogram("a") == nullptr);
  CHECK(histogram("h", {1, 3}) == nullptr);
  CHECK(histogram("h", {2, 1, 2, std::nan("")}) != nullptr);  // the same once they are in order
  CHECK(histogram("h") != nullptr);                           // no opinion
  CHECK(drops.get(Drop::conflict) == 2);
}

TEST_CASE_FIXTURE(Fixture, "a name that is none is refused and counted") {
  CHECK(counter("") == nullptr);
  CHECK(counter("\xff") == nullptr);
  CHECK(counter(std::string(256, 'n')) == nullptr);
  CHECK(counter(std::string(255, 'n')) != nullptr);
  CHECK(drops.get(Drop::bad_name) == 3);
}

TEST_CASE_FIXTURE(Fixture,
                  "labels that are not valid go to the overflow series, each refusal counted") {
  Instrument* overflow = counter("a_total", {{"x", "\xc3"}});

  REQUIRE(overflow != nullptr);
  CHECK(overflow->label_set->keys == std::vector<std::string>{"insight_overflow"});
  CHECK(counter("a_total", {{"", "1"}}) == overflow);
  CHECK(counter("a_total", {{"x", "1"}, {"x", "2"}}) == overflow);
  CHECK(counter("a_total", {{"x", std::string(5'000, 'v')}}) == overflow);
  Labels many;
  for (size_t i = 0; i <= wire::kMaxLabels; ++i) many.emplace_back("k" + std::to_string(i), "v");
  CHECK(counter("a_total", many) == overflow);
  CHECK(table.child(*overflow, {{"x", "1"}}) == overflow);
  CHECK(drops.get(Drop::bad_label) == 5);
}

TEST_CASE_FIXTURE(Fixture,
                  "beyond 2,000 label sets one overflow series takes what the others would have") {
  for (int i = 0; i < 5'000; ++i) add(counter("a_total", {{"user", std::to_string(i)}}), 1);

  CHECK(table.size() == MetricTable::kMaxSeriesPerMetric + 1);
  Instrument* overflow = counter("a_total", {{"user", "another"}});
  CHECK(cells.total(overflow->cell) == 3'000);
  CHECK(cells.total(counter("a_total", {{"user", "0"}})->cell) == 1);
  CHECK(drops.get(Drop::bad_label) == 0);
}

TEST_CASE_FIXTURE(Fixture,
                  "a publisher never has more than 20,000 series, overflow series included") {
  for (int m = 0; m < 12; ++m) {
    for (int i = 0; i < 2'100; ++i) {
      CHECK(counter("m" + std::to_string(m), {{"i", std::to_string(i)}}) != nullptr);
      if (drops.get(Drop::series_limit) != 0) break;
    }
    if (table.size() + 20 > MetricTable::kMaxSeries) break;
  }
  int refused = 0;
  for (int i = 0; i < 20'000; ++i) refused += counter("n" + std::to_string(i)) == nullptr ? 1 : 0;

  CHECK(refused > 0);
  CHECK(drops.get(Drop::series_limit) == static_cast<uint64_t>(refused));
  CHECK(table.size() <= MetricTable::kMaxSeries);
  CHECK(counter("m0", {{"i", "again another"}}) != nullptr);
  CHECK(table.size() <= MetricTable::kMaxSeries);
}

TEST_CASE_FIXTURE(
    Fixture,
    "bounds are put in order, without what is not finite, and by the suffix when none are given") {
  CHECK(histogram("a", {5, 1, std::numeric_limits<double>::infinity(), 1, -0.0, std::nan("")})
            ->label_set->metric->bounds == std::vector<double>{0, 1, 5});
  const auto first_of = [&](const char* name) {
    return histogram(name)->label_set->metric->bounds[0];
  };
  CHECK(first_of("x_seconds") == buckets::seconds[0]);
  CHECK(first_of("x_ms") == buckets::milliseconds[0]);
  CHECK(first_of("x_bytes") == buckets::bytes[0]);
  CHECK(first_of("x_tokens") == buckets::tokens[0]);
  CHECK(first_of("x") == buckets::seconds[0]);
  CHECK(histogram("x_seconds")->label_set->metric->unit == "s");
}

TEST_CASE_FIXTURE(Fixture, "bounds that no family can hold are refused and counted") {
  std::vector<double> bounds;
  for (int i = 0; i < 2'047; ++i) bounds.push_back(i + 0.5);

  CHECK(histogram("a", bounds) == nullptr);
  CHECK(drops.get(Drop::bad_bounds) == 1);
}

TEST_CASE_FIXTURE(Fixture, "what changed is sent, what did not only when its refresh is due") {
  Instrument* a = counter("a_total");
  Instrument* b = counter("b_total");
  CHECK(gathered(1 * kSecond).size() == 2);  // registered: visible at 0
  CHECK(gathered(2 * kSecond).empty());

  add(b, 3);
  const auto changed = gathered(3 * kSecond);
  REQUIRE(changed.size() == 1);
  CHECK(changed[0].instrument == b);
  CHECK(changed[0].value == 3);

  const auto refreshed = gathered(16 * kSecond);
  REQUIRE(refreshed.size() == 1);
  CHECK(refreshed[0].instrument == a);
  CHECK(gathered(17 * kSecond, 15 * kSecond, 17 * kSecond).size() == 2);  // a new broker
}

TEST_CASE_FIXTURE(Fixture,
                  "a gauge is sent once it is set, NaN too, and again when its bits change") {
  Instrument* gauge = table.find_or_add({.name = "g", .kind = Kind::gauge}, {});
  CHECK(gathered(1 * kSecond).empty());

  gauge->gauge.store(std::bit_cast<uint64_t>(std::numeric_limits<double>::quiet_NaN()));
  CHECK(gathered(2 * kSecond).size() == 1);
  CHECK(gathered(3 * kSecond).empty());

  gauge->gauge.store(std::bit_cast<uint64_t>(0.0));
  CHECK(gathered(4 * kSecond).size() == 1);
}

TEST_CASE_FIXTURE(Fixture, "many series travel in several envelopes of at most a thousand points") {
  for (int i = 0; i < 1'999; ++i) counter("a_total", {{"i", std::to_string(i)}});
  std::vector<MetricTable::Sent> all;

  CHECK(gather(all, kSecond) >= 2);
  CHECK(all.size() == 1'999);
}

TEST_CASE_FIXTURE(Fixture, "after a restart nothing is sent until something is recorded") {
  Instrument* a = counter("a_total");
  counter("b_total");
  Instrument* gauge = table.find_or_add({.name = "g", .kind = Kind::gauge}, {});
  gauge->gauge.store(std::bit_cast<uint64_t>(1.0));
  CHECK(table.has_live());

  table.restart();
  CHECK_FALSE(table.has_live());
  CHECK(gathered(1 * kSecond).empty());

  add(a, 1);
  CHECK(table.has_live());
  CHECK(gathered(2 * kSecond).size() == 1);
}

}  // namespace
}  // namespace insight::native
