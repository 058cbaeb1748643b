// SPDX-License-Identifier: Apache-2.0
#include "bus/broker/progress_watch.hpp"

#include <doctest/doctest.h>

namespace insight {
namespace {

class Counter final : public BatchReceiver {
 public:
  void receive(std::shared_ptr<const Batch>) noexcept override { ++batches; }

  int batches = 0;
};

std::shared_ptr<Incarnation> make_incarnation(unsigned char id) {
  return std::make_shared<Incarnation>(IncarnationId{{id}}, 0, Resource{}, 10 * kSecond,
                                       std::make_shared<SeriesIds>());
}

const Series& add_series(Incarnation& incarnation, std::string_view metric, std::string_view name) {
  auto family = std::make_shared<Family>();
  family->name = metric;
  family->kind = Kind::gauge;
  family->label_keys = {"name"};
  return incarnation.add_series(std::move(family), {&name, 1});
}

struct Told {
  const Series* series;
  double value;
};

std::shared_ptr<const Batch> make_batch(const std::shared_ptr<Incarnation>& incarnation,
                                        std::vector<Told> points, uint64_t sent_ns,
                                        uint64_t received_mono_ns) {
  auto batch = std::make_shared<Batch>();
  for (const Told& told : points) {
    Point point;
    point.series = told.series;
    point.value = told.value;
    batch->points.push_back(point);
  }
  batch->segments.push_back({incarnation, 1, sent_ns, 0, received_mono_ns, 0, points.size()});
  return batch;
}

}  // namespace

TEST_CASE("the age of a progress is told on the publisher's clock and goes on with the broker's") {
  Counter next;
  ProgressWatch watch(next);
  const auto incarnation = make_incarnation(1);
  const Series& other = add_series(*incarnation, "x_total", "loop");
  const Series& loop = add_series(*incarnation, kProgressMetric, "loop");
  const Series& save = add_series(*incarnation, kProgressMetric, "save");

  // The publisher's wall clock is far from ours; only the difference to `sent` counts.
  watch.receive(make_batch(incarnation, {{&other, 1}, {&loop, 1'000}, {&save, 995}},
                           1'002 * kSecond, 50 * kSecond));
  const auto ages = watch.ages(53 * kSecond);

  CHECK(next.batches == 1);
  REQUIRE(ages.size() == 2);
  CHECK(ages[0].name == "loop");
  CHECK(ages[0].seconds == doctest::Approx(5));
  CHECK(ages[1].name == "save");
  CHECK(ages[1].seconds == doctest::Approx(10));
}

TEST_CASE("an older progress that comes late does not replace a newer one") {
  Counter next;
  ProgressWatch watch(next);
  const auto incarnation = make_incarnation(1);
  const Series& loop = add_series(*incarnation, kProgressMetric, "loop");

  watch.receive(make_batch(incarnation, {{&loop, 100}}, 100 * kSecond, 10 * kSecond));
  watch.receive(make_batch(incarnation, {{&loop, 90}}, 90 * kSecond, 11 * kSecond));

  CHECK(watch.ages(12 * kSecond).at(0).seconds == doctest::Approx(2));
}

TEST_CASE("a publisher that ended or was lost has no progress") {
  Counter next;
  ProgressWatch watch(next);
  for (const Life life : {Life::ended, Life::lost}) {
    const auto incarnation = make_incarnation(2);
    const Series& loop = add_series(*incarnation, kProgressMetric, "loop");
    watch.receive(make_batch(incarnation, {{&loop, 100}}, 100 * kSecond, 10 * kSecond));
    REQUIRE(watch.ages(11 * kSecond).size() == 1);

    incarnation->set_life(life, 12 * kSecond);

    CHECK(watch.ages(13 * kSecond).empty());
    CHECK(incarnation.use_count() == 1);  // nothing is kept of it
  }
}

TEST_CASE("a value that is no time is left out") {
  Counter next;
  ProgressWatch watch(next);
  const auto incarnation = make_incarnation(1);
  const Series& loop = add_series(*incarnation, kProgressMetric, "loop");

  watch.receive(make_batch(incarnation, {{&loop, std::numeric_limits<double>::quiet_NaN()}},
                           kSecond, kSecond));

  CHECK(watch.ages(2 * kSecond).empty());
  CHECK(next.batches == 1);
}

TEST_CASE("the number of progresses that are kept is bounded") {
  Counter next;
  ProgressWatch watch(next);
  const auto incarnation = make_incarnation(1);
  for (int i = 0; i < 10'050; ++i) {
    const Series& series = add_series(*incarnation, kProgressMetric, std::to_string(i));
    watch.receive(make_batch(incarnation, {{&series, 1}}, kSecond, kSecond));
  }

  CHECK(watch.ages(2 * kSecond).size() == 10'000);
}

}  // namespace insight
