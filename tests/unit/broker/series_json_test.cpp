// SPDX-License-Identifier: Apache-2.0
#include "bus/broker/series_json.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

namespace insight {
namespace {

using nlohmann::json;

MetricList list_of(std::vector<std::pair<std::string, uint64_t>> metrics) {
  MetricList out;
  for (auto& [name, series] : metrics) {
    out.metrics.push_back({.name = name, .kind = "gauge", .series = series});
    out.series += series;
  }
  out.matched = metrics.size();
  return out;
}

std::vector<std::string> names(const MetricList& list) {
  std::vector<std::string> out;
  for (const MetricSummary& metric : list.metrics) out.push_back(metric.name);
  return out;
}

}  // namespace

TEST_CASE("a query names a list or one metric, and what is wrong with it is said") {
  const Result<SeriesQuery> list = parse_series_query("name=rl_%2A&sort=name&limit=7&offset=3");
  REQUIRE(list);
  CHECK(list->list.name == "rl_*");
  CHECK(list->list.by_name);
  CHECK(list->list.limit == 7);
  CHECK(list->list.offset == 3);
  CHECK(parse_series_query("explain=a%20b")->explain == "a b");

  const auto error = [](const char* query) { return parse_series_query(query).error().message; };
  CHECK(error("limit=1001") == "limit must be a whole number up to 1000");
  CHECK(error("limit=-1") == "limit must be a whole number up to 1000");
  CHECK(error("offset=99999999999999999999") == "offset must be a whole number up to 10000000");
  CHECK(error("sort=size") == "sort must be series or name");
  CHECK(error(("name=" + std::string(257, '*')).c_str()) == "name must have at most 256 bytes");
  CHECK(parse_series_query("name=" + std::string(256, '*')));
  CHECK(error("explain=") == "unknown parameter; known: name, sort, limit, offset, explain");
}

TEST_CASE("the bus's own metrics join those of a sink in their order") {
  const std::vector<MetricSummary> own = list_of({{"insight_a", 5}, {"insight_c", 1}}).metrics;
  MetricList list = list_of({{"insight_d", 7}, {"insight_b", 5}});
  add_metrics(list, own, {.name = "insight_*"});
  CHECK(names(list) ==
        std::vector<std::string>{"insight_d", "insight_a", "insight_b", "insight_c"});
  CHECK(list.matched == 4);
  CHECK(list.series == 18);

  list = list_of({{"insight_b", 5}, {"insight_d", 7}});
  add_metrics(list, own, {.by_name = true, .offset = 1, .limit = 2});
  CHECK(names(list) == std::vector<std::string>{"insight_b", "insight_c"});
}

TEST_CASE("the bus's own metrics are known by their names and those of their samples") {
  const Status status;
  for (const char* name :
       {"insight_publishers", "insight_sink_retries", "insight_sink_retries_total",
        "insight_transport_latency_seconds_bucket"}) {
    MetricAnswer answer;
    add_own_metric(answer, name, status);
    REQUIRE(answer.metric);
    CHECK(answer.metric->declared == "the bus itself");
    CHECK_FALSE(answer.metric->summary.help.empty());
  }
  MetricAnswer answer;
  add_own_metric(answer, "insight_publisher", status);
  CHECK_FALSE(answer.metric);
  CHECK(answer.nearest.size() == 1);
  CHECK(own_metrics_like("insight_sink_*", status).size() >= 7);
  CHECK(own_metrics_like("rl_*", status).empty());
}

TEST_CASE("the answers are JSON, whatever a publisher said, and tell whether there is a list") {
  MetricList list = list_of({{"a\"\xFF", 1}, {"b", 2}});
  const json body = json::parse(metric_list_json(list, true));
  CHECK(body["source"] == "aggregate");
  CHECK(body["matched"] == 2);
  CHECK(body["metrics"].size() == 2);
  CHECK(body["metrics"][0]["silent_seconds"].is_null());
  CHECK(json::parse(metric_list_json({}, false))["source"].is_null());

  Status status;
  status.series_per_metric_limit = 10;
  status.collectors.push_back({.name = "bus"});
  status.collectors[0].offenders = {{"a", "01", "series_per_metric", 3}, {"x", "02", "series", 4}};
  MetricAnswer answer;
  answer.metric = MetricDetail{.summary = {.name = "a_total", .kind = "counter"}, .merge = ""};
  answer.refusals = {{"a", Reason::conflict, "first", "second", 5}};
  const json one = json::parse(metric_answer_json(answer, "a", status, true));
  CHECK(one["metric"]["metric"] == "a_total");
  CHECK(one["metric"]["merge"].is_null());
  CHECK(one["refusals"][0]["first"] == "first");
  CHECK(one["offenders"].size() == 1);
  CHECK(one["offenders"][0]["points_dropped"] == 3);
  const json nothing = json::parse(metric_answer_json({.nearest = {"b"}}, "c", status, false));
  CHECK(nothing["metric"].is_null());
  CHECK(nothing["nearest"][0] == "b");
}

}  // namespace insight
