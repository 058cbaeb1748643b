// SPDX-License-Identifier: Apache-2.0
#include "bus/broker/status_json.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

namespace insight {
namespace {

using nlohmann::json;

PublisherView view_of(unsigned char id, Life life, uint64_t last_seen_wall_ns) {
  PublisherView view;
  Resource resource;
  resource.attributes = {{"process.pid", int64_t{7}}, {"service.name", std::string("a\xff")}};
  view.incarnation = std::make_shared<Incarnation>(IncarnationId{{id}}, kSecond, resource,
                                                   10 * kSecond, std::make_shared<SeriesIds>());
  view.life = life;
  view.last_seen_wall_ns = last_seen_wall_ns;
  return view;
}

Status filled() {
  Status status;
  status.name = "head";
  status.now = {2 * kSecond, 5 * kSecond};
  status.started_mono_ns = 3 * kSecond;
  CollectorStats collector;
  collector.name = "bus";
  collector.records = {10, 4};
  collector.envelopes_refused[static_cast<size_t>(Reason::malformed)] = 3;
  collector.publishers = {1, 0, 2, 0};
  collector.series = 11;
  collector.series_limit = 100;
  collector.offenders.push_back({"wild_total", "abc", "series_per_metric", 7});
  status.collectors.push_back(collector);
  SinkSnapshot sink;
  sink.name = "prometheus";
  sink.delivered = {9, 0};
  sink.delivery_latency[0].buckets[2] = 5;
  sink.delivery_latency[0].buckets.back() = 1;
  sink.dropped[0][static_cast<size_t>(Reason::conflict)] = 1;
  sink.refusals.push_back({"x_total", Reason::conflict, "a/h/1 (aa)", "b/h/2 (bb)", 1});
  status.sinks.push_back(sink);
  return status;
}

}  // namespace

TEST_CASE("the status holds counts by signal and reason, and who disagrees with whom") {
  const json status = json::parse(status_json(filled()));

  CHECK(status["name"] == "head");
  CHECK(status["health"] == "healthy");
  CHECK(status["uptime_seconds"] == 2.0);
  CHECK(status["state_directory"].is_null());
  CHECK(status["publishers"] == json{{"alive", 1}, {"late", 0}, {"lost", 2}, {"ended", 0}});
  const json& collector = status["collectors"][0];
  CHECK(collector["records"] == json{{"metrics", 10}, {"spans", 4}});
  CHECK(collector["refused"] == json{{"malformed", 3}});
  const json& sink = status["sinks"][0];
  CHECK(sink["dropped"]["metrics"] == json{{"conflict", 1}});
  CHECK(sink["dropped"]["spans"] == json::object());
  CHECK(sink["delivery_latency"]["metrics"]["buckets"] ==
        json::parse(R"([{"le": 5e-05, "count": 5}, {"le": null, "count": 1}])"));
  CHECK(sink["last_error"].is_null());
  CHECK(status["series"]["offenders"][0] == json{{"metric", "wild_total"},
                                                 {"publisher", "abc"},
                                                 {"limit", "series_per_metric"},
                                                 {"points_dropped", 7},
                                                 {"collector", "bus"}});
  CHECK(status["series"]["refusals"][0] == json{{"metric", "x_total"},
                                                {"reason", "conflict"},
                                                {"first", "a/h/1 (aa)"},
                                                {"second", "b/h/2 (bb)"},
                                                {"points_dropped", 1},
                                                {"sink", "prometheus"}});
  CHECK(json::parse(series_json(filled())) == status["series"]);
}

TEST_CASE("a broker with a problem is degraded") {
  Status status = filled();
  status.problems = {"sink file is down"};

  const json body = json::parse(status_json(status));

  CHECK(body["health"] == "degraded");
  CHECK(body["problems"] == json{"sink file is down"});
}

TEST_CASE("durations are told as mean and the bound of 99 in 100") {
  Status status = filled();
  DurationHistogram histogram;
  for (int i = 0; i < 99; ++i) histogram.observe_ns(2 * kMillisecond);
  histogram.observe_ns(2 * kSecond);
  status.sinks[0].write_duration = histogram.snapshot();

  const json body = json::parse(status_json(status));

  const json& durations = body["sinks"][0]["write_duration"];
  CHECK(durations["count"] == 100);
  CHECK(durations["mean_seconds"].get<double>() == doctest::Approx(0.02198));
  CHECK(durations["p99_seconds"] == 0.0025);
}

TEST_CASE("publishers stand by state, the last heard first, with a limit and the number of all") {
  Status status;
  status.publishers = {view_of(1, Life::ended, 5), view_of(2, Life::alive, 3),
                       view_of(3, Life::alive, 4), view_of(4, Life::lost, 9)};

  const json all = json::parse(publishers_json(status, {}));
  const json two = json::parse(publishers_json(status, {.limit = 2}));
  const json ended = json::parse(publishers_json(status, {.state = Life::ended}));

  CHECK(all["states"] == json{{"alive", 2}, {"late", 0}, {"lost", 1}, {"ended", 1}});
  REQUIRE(all["publishers"].size() == 4);
  CHECK(all["publishers"][0]["incarnation"].get<std::string>().starts_with("03"));
  CHECK(all["publishers"][1]["incarnation"].get<std::string>().starts_with("02"));
  CHECK(all["publishers"][2]["state"] == "lost");
  CHECK(all["publishers"][3]["state"] == "ended");
  CHECK(two["publishers"].size() == 2);
  CHECK(two["matched"] == 4);
  CHECK(ended["matched"] == 1);
  CHECK(all["publishers"][0]["resource"]["process.pid"] == 7);
  CHECK(all["publishers"][0]["started"] == "1970-01-01T00:00:01.000Z");
}

TEST_CASE("bytes that are not text do not break the answer") {
  Status status;
  status.publishers = {view_of(1, Life::alive, 1)};

  const json body = json::parse(publishers_json(status, {}));

  CHECK(body["publishers"][0]["resource"]["service.name"] == "a\uFFFD");
}

TEST_CASE("a query for publishers is read, and what is wrong with it is told") {
  CHECK(parse_publisher_query("")->limit == 10'000);
  CHECK(parse_publisher_query("state=lost&limit=7")->state == Life::lost);
  CHECK(parse_publisher_query("state=lost&limit=7")->limit == 7);
  CHECK(parse_publisher_query("state=dead").error().message ==
        "state must be alive, late, lost or ended");
  for (const char* query : {"limit=", "limit=-1", "limit=1x", "limit"}) {
    CHECK(parse_publisher_query(query).error().message == "limit must be a whole number");
  }
  CHECK(parse_publisher_query("status=lost").error().message ==
        "unknown parameter; known: state, limit");
}

}  // namespace insight
