// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <random>
#include <string>

#include <doctest/doctest.h>

#include "bus/aggregate/aggregate_state.hpp"
#include "bus/base/text.hpp"
#include "tests/unit/aggregate/world.hpp"

using namespace insight;
using namespace insight::test;

namespace {

/// A bit of everything that a snapshot can hold.
World rich_world() {
  World world;
  TestPublisher gone = world.publisher(1), back = world.publisher(2), a = world.publisher(3);
  world.apply(BatchBuilder()
                  .counter(gone, "c", {{"x", "1"}}, 5)
                  .counter(gone, "dormant", {}, 5)
                  .histogram(gone, "h", {1, 2}, {1, 2, 3}, 9)
                  .counter(back, "c", {{"x", "1"}}, 7)
                  .histogram(back, "h", {1, 2}, {1, 0, 0}, 1));
  world.set_life(gone, Life::ended);
  world.set_life(back, Life::lost);
  world.apply(
      BatchBuilder().counter(a, "c", {{"x", "1"}}, 0).histogram(a, "h", {1, 2}, {0, 0, 0}, 0));
  world.pass(3'601 * kSecond);
  world.set_life(back, Life::alive);
  world.apply(BatchBuilder()
                  .counter(back, "c", {{"x", "1"}}, 17)
                  .histogram(back, "h", {1, 2}, {1, 1, 0}, 2)
                  .counter(a, "c", {{"x", "1"}}, 100.25)
                  .counter(a, "c", {{"x", "quote\"\\\n"}}, 3)
                  .histogram(a, "h", {1, 2}, {4, 5, 6}, 12.5)
                  .gauge(a, "g", {}, 1.5, GaugeMode::sum)
                  .gauge(back, "g", {}, 2, GaugeMode::sum));
  world.apply(BatchBuilder().counter(back, "c", {{"x", "1"}}, 18));
  return world;
}

std::string with_right_checksum(std::string bytes) {
  // magic, version, hash key, checksum: see snapshot.cpp.
  constexpr size_t checksum_at = 17 + 4 + 8;
  if (bytes.size() < checksum_at + 8) return bytes;
  const uint64_t checksum =
      keyed_hash(std::string_view(bytes).substr(checksum_at + 8), 0x696e7369676874);
  std::memcpy(bytes.data() + checksum_at, &checksum, sizeof checksum);
  return bytes;
}

}  // namespace

TEST_CASE("a restart changes nothing that is shown") {
  World world = rich_world();
  const auto before = world.scrape();
  const AggregateStatus status = world.aggregate->status();
  REQUIRE(before.at(R"(c_total{x="1"})") == "113.25");
  REQUIRE(before.at("h_count") == "22");
  REQUIRE(before.at("g") == "3.5");

  world.restart();

  CHECK(world.scrape() == before);
  CHECK(world.aggregate->status().series == status.series);
  CHECK(world.aggregate->status().dormant == 1);
  CHECK(world.aggregate->status().tombstones == status.tombstones);
  CHECK(world.aggregate->status().resyncs == 1);
  world.restart();
  CHECK(world.scrape() == before);
}

TEST_CASE("a returning incarnation finds its contributions after a restart") {
  World world = rich_world();
  world.scrape();
  world.restart();
  TestPublisher back = world.publisher(2), a = world.publisher(3), gone = world.publisher(1);

  world.apply(BatchBuilder()
                  .counter(back, "c", {{"x", "1"}}, 20)
                  .counter(a, "c", {{"x", "1"}}, 101.25)
                  .histogram(a, "h", {1, 2}, {4, 5, 7}, 15.5)
                  .counter(a, "dormant", {}, 1)
                  .counter(gone, "c", {{"x", "1"}}, 6));

  CHECK(world.value(R"(c_total{x="1"})") == "116.25");
  CHECK(world.value("h_count") == "23");
  CHECK(world.value("dormant_total") == "6");
  CHECK(world.aggregate->status().resyncs == 2);
}

TEST_CASE("ended incarnations retire on time over a restart") {
  World world;
  TestPublisher a = world.publisher(1);
  world.apply(BatchBuilder().counter(a, "c", {}, 5));
  world.set_life(a, Life::ended);
  world.pass(3'000 * kSecond);
  const std::string bytes = world.aggregate->save(world.now);
  world.now = {.wall_ns = world.now.wall_ns + 500 * kSecond, .mono_ns = 3 * kSecond};
  world.aggregate = std::make_unique<Aggregate>(world.options);
  REQUIRE(world.aggregate->load(bytes, world.now));

  world.pass(50 * kSecond);
  CHECK(world.value("c_total") == "5");
  world.pass(51 * kSecond);

  CHECK(world.value("c_total") == "none");
  CHECK(world.aggregate->status().tombstones == 1);
}

TEST_CASE("other resource labels after a restart move contributions and count nothing twice") {
  World world({.resource_labels = {}});
  const Resource resource{{{"role", std::string("r")}}};
  TestPublisher a = world.publisher(1, resource);
  world.apply(BatchBuilder().counter(a, "c", {}, 5));
  world.options.resource_labels = {"role"};
  world.restart();

  a = world.publisher(1, resource);
  world.apply(BatchBuilder().counter(a, "c", {}, 6));

  CHECK(world.scrape() == std::map<std::string, std::string>{{R"(c_total{role="r"})", "6"}});
  CHECK(world.aggregate->status().dormant == 1);
}

TEST_CASE("a family whose name the bus itself uses after an update is left out") {
  World world;
  TestPublisher a = world.publisher(1);
  world.apply(BatchBuilder().counter(a, "c", {}, 5).counter(a, "insight_new", {}, 5));
  world.options.reserved_metrics = {"insight_new_total"};
  world.restart();

  CHECK(world.scrape() == std::map<std::string, std::string>{{"c_total", "5"}});
}

TEST_CASE("a snapshot that is cut off, changed, foreign or of another version is refused") {
  World world = rich_world();
  const std::string good = world.aggregate->save(world.now);
  Aggregate fresh({});
  const auto refused = [&](const std::string& bytes) {
    const Result<uint64_t> loaded = fresh.load(bytes, world.now);
    return !loaded && !loaded.error().message.empty() && fresh.status().series == 0 &&
           fresh.status().incarnations == 0 && fresh.status().tombstones == 0;
  };

  for (size_t size = 0; size < good.size(); ++size) CHECK(refused(good.substr(0, size)));
  for (size_t at = 0; at < good.size(); ++at) {
    // The hash key is not covered by the checksum: another key is as good.
    if (at >= 21 && at < 29) continue;
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    CHECK(refused(bad));
  }
  CHECK(refused(good + '\0'));
  CHECK(refused("# HELP not a snapshot"));
  std::string newer = good;
  newer[17] = 3;
  CHECK_FALSE(fresh.load(newer, world.now));
  CHECK(fresh.load(newer, world.now).error().message ==
        "it has version 3, only versions 1 to 2 are known");
  CHECK(fresh.load(good, world.now));
}

TEST_CASE("no bytes with a right checksum harm, and what loads can be used") {
  World world = rich_world();
  const std::string good = world.aggregate->save(world.now);
  std::minstd_rand random(7);
  size_t refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string bad = good;
    const size_t changes = 1 + random() % 4;
    for (size_t c = 0; c < changes; ++c) {
      const size_t at = 29 + random() % (bad.size() - 29);
      bad[at] = random() % 2 == 0 ? static_cast<char>(random()) : static_cast<char>(bad[at] + 1);
    }
    if (random() % 8 == 0) bad.resize(random() % bad.size());
    World other;
    if (!other.aggregate->load(with_right_checksum(bad), other.now)) {
      ++refused;
      continue;
    }
    TestPublisher a = other.publisher(3), b = other.publisher(2);
    other.apply(BatchBuilder()
                    .counter(a, "c", {{"x", "1"}}, 200)
                    .histogram(a, "h", {1, 2}, {40, 50, 60}, 12.5)
                    .gauge(b, "g", {}, 1));
    other.pass(4'000 * kSecond);
    other.scrape();
    other.pass(8 * 86'400 * kSecond);
  }
  CHECK(refused > 1'000);
  CHECK(refused < 20'000);
}

TEST_CASE("a snapshot of version 1 is read, without the unit and the start of its series") {
  // Written by version 1: a counter of two publishers, a gauge, a histogram.
  constexpr std::string_view kHex =
      "696e73696768742d616767726567617465010000001a04c2f67384a5ebaa0844c7829ba9fd010000000000000000"
      "00000000000000020000000200000000000000000000000000000100e40b5402000000000000b0f00e7298971701"
      "00000000000000000000000000000100e40b5402000000000000b0f00e7298971703000000010000006802000000"
      "0000100000003f2f3f2f3f202830313030303030302902000000000000000000f03f000000000000004004000000"
      "08000000685f6275636b657405000000685f73756d07000000685f636f756e740100000068010000000000000000"
      "0000000000000000000000000000000000000000000000000000000000000000000000010000000100000079bcf4"
      "d4f65546e40300000000000000000000000000000000000000000000000000000000000000000000234003000000"
      "0100000000000000020000000000000003000000000000000000000000000000000000000a0000006a6f62735f74"
      "6f74616c0000090000004a6f627320646f6e65100000003f2f3f2f3f202830313030303030302900000000020000"
      "000a0000006a6f62735f746f74616c040000006a6f62730100000005000000713d22782200000000000000000000"
      "000000000000000000000000000002000000010000009192f24e0f257dda00000000000000000000001440000000"
      "00000000000000000000000000000000009192f24e0f257dda00000000000000000000001c400000000000000000"
      "0000000000000000050000006c6576656c010000000000100000003f2f3f2f3f2028303130303030303029000000"
      "0001000000050000006c6576656c0100000000000000000000000000000000000000000000000000000000000000"
      "0100000001000000193e3b367eef68dd020000000000000000000008400000000000000000010000000000000000"
      "000000";
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  std::string bytes;
  for (size_t i = 0; i < kHex.size(); i += 2) {
    bytes.push_back(static_cast<char>(digit(kHex[i]) * 16 + digit(kHex[i + 1])));
  }
  World world({.created = true});

  const Result<uint64_t> loaded = world.aggregate->load(bytes, world.now);

  REQUIRE(loaded);
  CHECK(*loaded == 3);
  CHECK(world.value(R"(jobs_total{q="x"})") == "12");
  CHECK(world.value("level") == "3");
  CHECK(world.value("h_count") == "6");
  const std::string page = world.aggregate->render(world.now, Exposition::open_metrics);
  CHECK(page.find("_created") == std::string::npos);
}
