// SPDX-License-Identifier: Apache-2.0
#include <string>

#include <doctest/doctest.h>

#include "bus/pipeline/label_counts.hpp"
#include "tests/unit/aggregate/world.hpp"

using namespace insight;
using namespace insight::test;

namespace {

std::vector<std::string> names(const MetricList& list) {
  std::vector<std::string> out;
  for (const MetricSummary& metric : list.metrics) out.push_back(metric.name);
  return out;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("metrics are listed with those of most series first, or by name, page by page") {
  World world;
  TestPublisher a = world.publisher(1), b = world.publisher(2);
  world.apply(BatchBuilder()
                  .add(a, {.name = "jobs", .unit = "jobs", .help = "Done"}, {{"q", "x"}}, 1)
                  .add(a, {.name = "jobs"}, {{"q", "y"}}, 1)
                  .gauge(a, "level", {}, 1)
                  .gauge(b, "level", {}, 2)
                  .histogram(b, "wait", {1}, {1, 1}, 1)
                  .gauge(b, "jam", {}, 1));
  world.pass(7 * kSecond);
  world.apply(BatchBuilder().gauge(b, "level", {}, 2));

  const MetricList all = world.aggregate->list({}, world.now);
  CHECK(names(all) == Names{"jobs_total", "jam", "level", "wait"});
  CHECK(all.matched == 4);
  CHECK(all.series == 5);
  const MetricSummary& jobs = all.metrics[0];
  CHECK(jobs.kind == "counter");
  CHECK(jobs.unit == "jobs");
  CHECK(jobs.help == "Done");
  CHECK(jobs.series == 2);
  CHECK(jobs.publishers == 1);
  CHECK(*jobs.silent_seconds == 7);
  CHECK(all.metrics[2].publishers == 2);
  CHECK(*all.metrics[2].silent_seconds == 0);

  const auto list = [&](const MetricQuery& query) {
    return world.aggregate->list(query, world.now);
  };
  CHECK(names(list({.by_name = true})) == Names{"jam", "jobs_total", "level", "wait"});
  CHECK(names(list({.name = "j*", .by_name = true})) == Names{"jam", "jobs_total"});
  CHECK(names(list({.offset = 1, .limit = 2})) == Names{"jam", "level"});
  CHECK(list({.offset = 1, .limit = 2}).matched == 4);
  CHECK(names(list({.offset = 9, .limit = 2})).empty());
  CHECK(list({.name = "nothing"}).matched == 0);
}

TEST_CASE("a metric is explained by any of its names") {
  World world;
  TestPublisher a = world.publisher(1, {{{"service.name", std::string("engine")}}});
  TestPublisher b = world.publisher(2);
  const std::string hostile = "a\"b\\c\n,x=\"";
  world.apply(BatchBuilder()
                  .histogram(a, "the wait", {1, 2}, {1, 1, 1}, 1, {{"q", hostile}, {"r", "1"}})
                  .histogram(a, "the wait", {1, 2}, {1, 1, 1}, 1, {{"q", hostile}, {"r", "2"}})
                  .histogram(b, "the wait", {1, 2}, {1, 1, 1}, 1, {{"q", "z"}, {"r", "2"}})
                  .counter(a, "jobs", {}, 1));
  world.set_life(b, Life::late);
  world.pass(kSecond);

  for (const char* name : {"the_wait", "the wait", "the_wait_bucket", "the_wait_sum"}) {
    const MetricAnswer answer = world.aggregate->explain(name, world.now);
    REQUIRE(answer.metric);
    CHECK(answer.metric->summary.name == "the_wait");
  }
  CHECK(world.aggregate->explain("jobs", world.now).metric->summary.name == "jobs_total");
  const MetricDetail wait = *world.aggregate->explain("the_wait", world.now).metric;
  CHECK(wait.bounds == std::vector<double>{1, 2});
  CHECK(wait.examined == 3);
  CHECK(wait.declared == "engine/?/? (01000000)");
  REQUIRE(wait.labels.size() == 2);
  CHECK(wait.labels[0].name == "q");
  CHECK(wait.labels[0].values == 2);
  CHECK(wait.labels[0].top.front() == std::pair<std::string, uint64_t>(hostile, 2));
  CHECK(wait.labels[1].top.front() == std::pair<std::string, uint64_t>("2", 2));
  REQUIRE(wait.publishers.size() == 2);
  CHECK(wait.publishers[0].name == "engine/?/? (01000000)");
  CHECK(wait.publishers[0].series == 2);
  CHECK(wait.publishers[1].state == "late");
}

TEST_CASE("a name that nobody sends is answered with near ones, and with what was refused of it") {
  World world;
  TestPublisher a = world.publisher(1), b = world.publisher(2);
  world.apply(BatchBuilder().counter(a, "rl_tokens", {}, 1).gauge(a, "other", {}, 1));
  world.apply(BatchBuilder().gauge(b, "rl_tokens_total", {}, 1));
  Family exponential{.name = "rl_spread", .kind = Kind::exphist};
  world.apply(BatchBuilder().add(b, exponential, {}, 0));

  const auto explain = [&](const char* name) { return world.aggregate->explain(name, world.now); };
  CHECK(explain("rl_tokns_total").nearest == Names{"rl_tokens_total"});
  CHECK(explain("rl_tokns").nearest == Names{"rl_tokens_total"});
  CHECK(explain("tokens").nearest == Names{"rl_tokens_total"});
  CHECK(explain("zzzzzzzzzz").nearest.empty());
  REQUIRE(explain("rl_tokens").refusals.size() == 1);
  CHECK(explain("rl_tokens").refusals[0].reason == Reason::conflict);
  CHECK(explain("rl_tokens").refusals[0].first == "?/?/? (01000000)");
  CHECK(explain("rl_tokens").refusals[0].second == "?/?/? (02000000)");
  CHECK_FALSE(explain("rl_spread").metric);
  REQUIRE(explain("rl_spread").refusals.size() == 1);
  CHECK(explain("other").refusals.empty());
}

TEST_CASE("after a restart a publisher that was not heard again is named by its number") {
  World world;
  TestPublisher a = world.publisher(1);
  world.apply(BatchBuilder().counter(a, "jobs", {}, 1));
  world.restart();

  const MetricAnswer answer = world.aggregate->explain("jobs_total", world.now);
  REQUIRE(answer.metric);
  CHECK(answer.metric->publishers[0].name == "?/?/? (01000000)");
  CHECK(answer.metric->publishers[0].state == "late");
}

TEST_CASE("values of a label are told apart up to a bound") {
  std::vector<std::string> values;
  for (size_t i = 0; i <= LabelCounts::kMaxValues; ++i) values.push_back(std::to_string(i));
  LabelCounts counts;
  for (const std::string& value : values) counts.add("k", value);
  counts.add("k", "7");

  const std::vector<MetricDetail::Label> labels = counts.labels();
  REQUIRE(labels.size() == 1);
  CHECK(labels[0].values == LabelCounts::kMaxValues);
  CHECK(labels[0].is_at_least);
  CHECK(labels[0].top.size() == LabelCounts::kTop);
  CHECK(labels[0].top[0] == std::pair<std::string, uint64_t>("7", 2));
}
