// SPDX-License-Identifier: Apache-2.0
#include "bus/ledger/series_table.hpp"

#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "bus/ledger/flat_index.hpp"
#include "tests/unit/ledger/envelopes.hpp"

namespace insight {
namespace {

struct Publisher {
  Publisher(SeriesTable& table_, uint64_t n, const std::shared_ptr<SeriesIds>& ids)
      : table(table_),
        incarnation(std::make_shared<Incarnation>(test_id(n), 1, Resource{}, kSecond, ids)),
        series(std::make_unique<PublisherSeries>(table, incarnation)) {}

  /// Adds the series unless it is known.
  PublisherSeries::Added resolve(std::string_view family_bytes, std::string_view labels) {
    KnownFamily* family = table.family(family_bytes).value();
    PublisherSeries::Added result;
    result.series = series->find(*family, labels);
    if (result.series == nullptr) result = series->add(*family, labels);
    table.release(family);
    return result;
  }

  SeriesTable& table;
  std::shared_ptr<Incarnation> incarnation;
  std::unique_ptr<PublisherSeries> series;
};

struct World {
  explicit World(SeriesLimits limits = {}) : table(limits) {}

  Publisher publisher(uint64_t n) { return {table, n, ids}; }

  std::shared_ptr<SeriesIds> ids = std::make_shared<SeriesIds>();
  SeriesTable table;
};

const std::string kRequests = pack_family("requests_total", "counter", {"route", "code"});

TEST_CASE("the same bytes give the same series and its labels are decoded once") {
  World world;
  Publisher one = world.publisher(1);
  const std::string ok = pack_strings({"/v1", "200"});
  const std::string bad = pack_strings({"/v1", "500"});

  const Series* first = one.resolve(kRequests, ok).series->series;
  const Series* second = one.resolve(kRequests, bad).series->series;

  CHECK(first != second);
  CHECK(first->family == second->family);
  CHECK(first->family->name == "requests_total");
  CHECK(first->label_values[1] == "200");
  CHECK(first->incarnation == one.incarnation.get());
  CHECK(one.resolve(kRequests, std::string(ok)).series->series == first);
  CHECK(one.resolve(kRequests, std::string(bad)).series->series == second);
  CHECK(world.table.series() == 2);
}

TEST_CASE("two publishers share a family but no series") {
  World world;
  Publisher one = world.publisher(1), two = world.publisher(2);
  const std::string labels = pack_strings({"/v1", "200"});

  const Series* first = one.resolve(kRequests, labels).series->series;
  const Series* second = two.resolve(kRequests, labels).series->series;

  CHECK(first != second);
  CHECK(first->id != second->id);
  CHECK(first->family.get() == second->family.get());
  CHECK(world.table.families() == 1);
}

TEST_CASE("families with other bytes and the same labels are other series of one metric") {
  World world;
  Publisher one = world.publisher(1);
  const std::string other = pack_family("requests_total", "counter", {"route", "code"}, "help");
  const std::string labels = pack_strings({"/v1", "200"});

  const Series* first = one.resolve(kRequests, labels).series->series;
  const Series* second = one.resolve(other, labels).series->series;
  CHECK(first != second);

  CHECK(world.table.families() == 2);
  CHECK(world.table.largest_metrics(10) ==
        std::vector<std::pair<std::string, uint64_t>>{{"requests_total", 2}});
}

TEST_CASE("bytes that are no family are refused and leave nothing behind") {
  World world;
  CHECK(world.table.family("\xc1").error() == Reason::bad_family);
  CHECK(world.table.family(pack_family("m", "summary", {})).error() == Reason::unknown_kind);
  CHECK(world.table.families() == 0);
  CHECK(world.table.bytes() == 0);
}

TEST_CASE("labels that are none of the family make no series") {
  World world;
  Publisher one = world.publisher(1);

  const auto added = one.resolve(kRequests, pack_strings({"/v1"}));

  CHECK(added.series == nullptr);
  CHECK_FALSE(added.is_over_limit);
  CHECK(world.table.series() == 0);
  CHECK(world.table.families() == 0);
}

TEST_CASE("each limit refuses what is over it and names itself") {
  const std::string family = pack_family("m", "gauge", {"k"});
  const auto fill = [&](World& world, Publisher& publisher) {
    for (int i = 0;; ++i) {
      const auto added = publisher.resolve(family, pack_strings({std::to_string(i)}));
      if (added.series == nullptr) {
        CHECK(added.is_over_limit);
        return added.limit;
      }
      if (i > 1'000) FAIL("no limit held");
    }
    (void)world;
  };
  {
    World world({.series_per_publisher = 5});
    Publisher one = world.publisher(1);
    CHECK(fill(world, one) == SeriesLimit::series_per_publisher);
    CHECK(world.table.series() == 5);
  }
  {
    World world({.series_per_metric = 7});
    Publisher one = world.publisher(1);
    CHECK(fill(world, one) == SeriesLimit::series_per_metric);
    CHECK(one.resolve(kRequests, pack_strings({"a", "b"})).series != nullptr);
  }
  {
    World world({.series = 9});
    Publisher one = world.publisher(1);
    CHECK(fill(world, one) == SeriesLimit::series);
    CHECK(one.resolve(kRequests, pack_strings({"a", "b"})).series == nullptr);
  }
  {
    World world({.bytes = 10'000});
    Publisher one = world.publisher(1);
    CHECK(fill(world, one) == SeriesLimit::bytes);
    CHECK(world.table.bytes() <= 10'000);
  }
}

TEST_CASE("a known series is found when every limit is reached") {
  World world({.series = 1, .series_per_metric = 1, .series_per_publisher = 1});
  Publisher one = world.publisher(1);
  const std::string labels = pack_strings({"/v1", "200"});
  const Series* series = one.resolve(kRequests, labels).series->series;

  CHECK(one.resolve(kRequests, pack_strings({"/v2", "200"})).series == nullptr);

  CHECK(one.resolve(kRequests, labels).series->series == series);
}

TEST_CASE("the worst offenders come first, and an overflow at the source is one") {
  World world;
  Publisher one = world.publisher(1);
  for (int i = 0; i < 100; ++i) {
    KnownFamily* family =
        world.table.family(pack_family("metric" + std::to_string(i), "gauge", {})).value();
    world.table.note_refused(SeriesLimit::series_per_metric, *family, test_id(7),
                             static_cast<uint64_t>(i + 1));
    world.table.release(family);
  }
  const std::string flooded = pack_family("flooded", "counter", {"insight_overflow"});

  auto rows = world.table.offenders(10);
  CHECK(rows.size() == 10);
  CHECK(rows[0].metric == "metric99");
  CHECK(rows[0].points == 100);
  CHECK(rows[0].limit == "series_per_metric");
  CHECK(rows[0].publisher == "07000000000000000000000000000001");
  one.resolve(flooded, pack_strings({"true"}));
  rows = world.table.offenders(100);

  CHECK(rows.back().metric == "flooded");
  CHECK(rows.back().limit == "publisher overflow");
  CHECK(rows.back().points == 0);
  one.series.reset();
  CHECK(world.table.offenders(100).back().metric != "flooded");
}

TEST_CASE("everything is given back with the publisher") {
  World world;
  for (uint64_t n = 1; n <= 1'000; ++n) {
    Publisher one = world.publisher(n);
    for (int i = 0; i < 20; ++i) {
      one.resolve(kRequests, pack_strings({std::to_string(i), "200"}));
      one.resolve(pack_family("own" + std::to_string(n), "gauge", {}), pack_strings({}));
    }
    CHECK(world.table.series() == 21);
    CHECK(world.table.families() == 2);
  }
  CHECK(world.table.series() == 0);
  CHECK(world.table.families() == 0);
  CHECK(world.table.bytes() == 0);
  CHECK(world.table.largest_metrics(10).empty());
  CHECK(world.ids->in_use() == 0);
}

TEST_CASE("only series of gone publishers make way") {
  World world({.series_per_metric = 1});
  Publisher one = world.publisher(1);
  one.resolve(kRequests, pack_strings({"a", "b"}));
  KnownFamily* family = world.table.family(kRequests).value();

  CHECK_FALSE(world.table.is_held_by_gone(SeriesLimit::series_per_metric, *family));
  one.series->set_gone(true);
  CHECK(world.table.is_held_by_gone(SeriesLimit::series_per_metric, *family));
  CHECK(world.table.is_held_by_gone(SeriesLimit::series, *family));
  CHECK_FALSE(world.table.is_held_by_gone(SeriesLimit::series_per_publisher, *family));
  one.series->set_gone(false);

  CHECK_FALSE(world.table.is_held_by_gone(SeriesLimit::series, *family));
}

TEST_CASE("an index finds what is in it and nothing else, whatever came and went") {
  std::mt19937_64 random(7);
  FlatIndex index;
  std::vector<uint64_t> hashes(5'000);
  // Few distinct hashes: long runs of collisions.
  for (auto& hash : hashes) hash = random() % 700 * 64;
  std::set<uint32_t> held;
  for (int i = 0; i < 60'000; ++i) {
    const auto position = static_cast<uint32_t>(random() % hashes.size());
    const auto found =
        index.find(hashes[position], [&](uint32_t other) { return other == position; });
    REQUIRE((found == position) == held.contains(position));
    if (held.contains(position)) {
      index.erase(hashes[position], position);
      held.erase(position);
    } else if (held.size() < 3'000 || i % 2 == 0) {
      index.insert(hashes[position], position);
      held.insert(position);
    }
  }
}

}  // namespace
}  // namespace insight
