// SPDX-License-Identifier: Apache-2.0
#include "bus/metrics/own_metrics.hpp"

#include <algorithm>
#include <cstdio>
#include <string>

#include <doctest/doctest.h>

namespace insight {
namespace {

PublisherView view_of(unsigned id, Life life, uint64_t last_seen_wall_ns) {
  PublisherView view;
  IncarnationId incarnation;
  for (size_t i = 0; i < 4; ++i) incarnation.bytes[i] = static_cast<unsigned char>(id >> (8 * i));
  Resource resource;
  resource.attributes = {{"host.name", std::string("node7")},
                         {"rank", int64_t{3}},
                         {"service.name", std::string("a\"\n\xff")}};
  view.incarnation = std::make_shared<Incarnation>(incarnation, 0, resource, 10 * kSecond,
                                                   std::make_shared<SeriesIds>());
  view.life = life;
  view.last_seen_wall_ns = last_seen_wall_ns;
  view.gaps = 2;
  return view;
}

Status with_sink() {
  Status status;
  CollectorStats collector;
  collector.name = "bus";
  status.collectors.push_back(collector);
  SinkSnapshot sink;
  sink.name = "file";
  status.sinks.push_back(sink);
  return status;
}

bool has_line(const std::string& page, const std::string& line) {
  return ("\n" + page).find("\n" + line + "\n") != std::string::npos;
}

size_t count(const std::string& page, const std::string& what) {
  size_t n = 0;
  for (size_t at = 0; (at = page.find(what, at)) != std::string::npos; at += what.size()) ++n;
  return n;
}

}  // namespace

TEST_CASE("every loss has a place and a reason, and is there before the first one happens") {
  Status status = with_sink();
  status.collectors[0].records_dropped[static_cast<size_t>(Reason::bad_value)] = 3;
  status.collectors[0].dropped_at_publishers = {{"ring_full", 5}};
  status.collectors[0].spans_lost = 7;
  status.sinks[0].dropped[0][static_cast<size_t>(Reason::queue_full)] = 11;
  status.sinks[0].dropped[1][static_cast<size_t>(Reason::queue_full)] = 2;
  status.sinks[0].dropped[0][static_cast<size_t>(Reason::conflict)] = 1;

  const std::string page = render_own_metrics(status);

  const std::string name = "insight_bus_records_dropped_total";
  CHECK(has_line(page, name + R"({stage="publisher",reason="ring_full"} 5)"));
  CHECK(has_line(page, name + R"({stage="transport",reason="lost"} 7)"));
  CHECK(has_line(page, name + R"({stage="ingress",reason="bad_value"} 3)"));
  CHECK(has_line(page, name + R"({stage="ingress",reason="cardinality"} 0)"));
  CHECK(has_line(page, name + R"({stage="queue",reason="queue_full",sink="file"} 13)"));
  CHECK(has_line(page, name + R"({stage="sink",reason="conflict",sink="file"} 1)"));
  CHECK(has_line(page, name + R"({stage="sink",reason="regress",sink="file"} 0)"));
  CHECK(
      has_line(page, R"(insight_bus_envelopes_refused_total{collector="bus",reason="foreign"} 0)"));
}

TEST_CASE("losses before the sinks are summed over the collectors") {
  Status status = with_sink();
  status.collectors.push_back(status.collectors[0]);
  status.collectors[1].name = "other";
  for (CollectorStats& collector : status.collectors) {
    collector.records_dropped[static_cast<size_t>(Reason::late)] = 2;
    collector.publishers = {1, 2, 3, 4};
  }

  const std::string page = render_own_metrics(status);

  CHECK(has_line(page, R"(insight_bus_records_dropped_total{stage="ingress",reason="late"} 4)"));
  CHECK(has_line(page, R"(insight_publishers{state="ended"} 8)"));
}

TEST_CASE("a histogram is cumulative, with count and sum in seconds") {
  Status status = with_sink();
  DurationHistogram histogram;
  histogram.observe_ns(20'000);
  histogram.observe_ns(2 * kMillisecond);
  histogram.observe_ns(200 * kSecond);
  status.sinks[0].write_duration = histogram.snapshot();

  const std::string page = render_own_metrics(status);

  const std::string name = "insight_sink_write_duration_seconds";
  CHECK(has_line(page, name + R"(_bucket{sink="file",le="1e-05"} 0)"));
  CHECK(has_line(page, name + R"(_bucket{sink="file",le="2.5e-05"} 1)"));
  CHECK(has_line(page, name + R"(_bucket{sink="file",le="100"} 2)"));
  CHECK(has_line(page, name + R"(_bucket{sink="file",le="+Inf"} 3)"));
  CHECK(has_line(page, name + R"(_count{sink="file"} 3)"));
  CHECK(page.find(name + R"(_sum{sink="file"} 200.00202)") != std::string::npos);
}

TEST_CASE(
    "a publisher has its life and its gaps, and text that any publisher may send is escaped") {
  Status status = with_sink();
  status.publishers = {view_of(1, Life::late, 1'500'000'000), view_of(2, Life::ended, 0)};

  const std::string page = render_own_metrics(status);

  const std::string first =
      R"({publisher="01000000000000000000000000000000",rank="3",host="node7")";
  CHECK(has_line(page, "insight_publisher_up" + first + "} 1"));
  CHECK(has_line(page, "insight_publisher_ended" + first + "} 0"));
  CHECK(has_line(page, "insight_publisher_sequence_gaps_total" + first + "} 2"));
  CHECK(has_line(page, "insight_publisher_last_seen_timestamp_seconds" + first + "} 1.5"));
  CHECK(has_line(
      page, "insight_publisher_info" + first + ",service=\"a\\\"\\n\xEF\xBF\xBD\",pid=\"\"} 1"));
  CHECK(page.find(R"(insight_publisher_ended{publisher="02)") != std::string::npos);
}

TEST_CASE("publishers that the status leaves out are counted as not shown") {
  Status status = with_sink();
  status.collectors.emplace_back().publishers = {3, 0, 0, 2'000};
  for (unsigned i = 0; i < 7; ++i) status.publishers.push_back(view_of(i, Life::alive, i));

  CHECK(has_line(render_own_metrics(status), "insight_publishers_not_shown 1996"));
}

TEST_CASE("at most 1,000 publishers have series, those that live first; the rest is a number") {
  Status status = with_sink();
  for (unsigned i = 0; i < 1'500; ++i) {
    status.publishers.push_back(view_of(i, i < 1'490 ? Life::ended : Life::alive, i));
  }

  const std::string page = render_own_metrics(status);

  CHECK(count(page, "\ninsight_publisher_info{") == kMaxPublishersShown);
  CHECK(count(page, "\ninsight_publisher_up{") == kMaxPublishersShown);
  CHECK(has_line(page, "insight_publishers_not_shown 500"));
  // Alive are 1490 to 1499 (0x05d2 and on), and of the ended ones those heard last.
  CHECK(page.find(R"(insight_publisher_info{publisher="d2050000)") != std::string::npos);
  CHECK(page.find(R"(insight_publisher_info{publisher="d1050000)") != std::string::npos);
  CHECK(page.find(R"(insight_publisher_info{publisher="00000000)") == std::string::npos);
}

TEST_CASE("a publisher that sends to two collectors stands on the page once") {
  Status status = with_sink();
  status.publishers = {view_of(1, Life::late, 5), view_of(1, Life::alive, 7'000'000'000)};
  status.progress = {{status.publishers[0].incarnation, "loop", 9},
                     {status.publishers[1].incarnation, "loop", 2}};

  const std::string page = render_own_metrics(status);

  CHECK(count(page, "\ninsight_publisher_up{") == 1);
  CHECK(page.find(R"(host="node7"} 7)") != std::string::npos);
  CHECK(count(page, "\ninsight_progress_age_seconds{") == 1);
  CHECK(page.find(R"(name="loop"} 2)") != std::string::npos);
}

TEST_CASE("the age of a progress has its publisher and name") {
  Status status = with_sink();
  status.progress.push_back({view_of(1, Life::alive, 0).incarnation, "engine_loop", 2.5});

  CHECK(has_line(render_own_metrics(status),
                 R"(insight_progress_age_seconds{publisher="01000000000000000000000000000000",)"
                 R"(name="engine_loop"} 2.5)"));
}

TEST_CASE(
    "the names that nobody else may take are those on the page, with the parts of histograms") {
  const std::vector<std::string> names = own_metric_names();
  const std::string page = render_own_metrics(with_sink());

  for (size_t at = 0; (at = page.find("\n# TYPE ", at)) != std::string::npos; at += 8) {
    const std::string name = page.substr(at + 8, page.find(' ', at + 8) - at - 8);
    CHECK_MESSAGE(std::ranges::find(names, name) != names.end(), name);
  }
  CHECK(std::ranges::find(names, "insight_sink_write_duration_seconds_bucket") != names.end());
  CHECK(std::ranges::find(names, "insight_sink_write_duration_seconds_count") != names.end());
  CHECK(std::ranges::find(names, "insight_sink_write_duration_seconds_sum") != names.end());
}

TEST_CASE("a publisher is named by service, host and pid, as far as it said") {
  PublisherView view = view_of(1, Life::alive, 0);
  CHECK(publisher_name(*view.incarnation) == "a\"\n\xff/node7");
  CHECK(resource_text(*view.incarnation, "rank") == "3");
  CHECK(resource_text(*view.incarnation, "run").empty());
}

}  // namespace insight
