// SPDX-License-Identifier: Apache-2.0
#include "bus/metrics/own_metrics.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <numeric>
#include <sstream>

#include <prometheus/text_serializer.h>

#include "bus/base/text.hpp"
#include "bus/metrics/open_metrics.hpp"
#include "bus/pipeline/label_counts.hpp"

namespace insight {

namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

struct Description {
  std::string_view name;
  MetricType type;
  std::string_view help;
};

enum Id : size_t {
  build_info,
  start_time,
  envelopes_received,
  bytes_received,
  records_received,
  envelopes_refused,
  bytes_refused,
  sequence_gaps,
  records_dropped,
  records_delivered,
  records_filtered,
  transport_latency,
  delivery_latency,
  sink_up,
  sink_queue_bytes,
  sink_queue_records,
  sink_queue_limit,
  sink_write_duration,
  sink_retries,
  sink_last_success,
  collector_up,
  publishers,
  publishers_not_shown,
  publisher_info,
  publisher_up,
  publisher_ended,
  publisher_last_seen,
  publisher_gaps,
  progress_age,
  series,
  series_limit,
  metric_series,
  taps,
  taps_refused,
  taps_cut,
  tap_records,
  id_count
};

/// compose/catalogue.toml repeats these for people and dashboards; a test compares the two.
constexpr std::array<Description, id_count> kDescriptions{{
    {"insight_build_info", MetricType::Gauge, "Always 1; the labels say what runs."},
    {"insight_start_time_seconds", MetricType::Gauge, "When the broker started, Unix time."},
    {"insight_bus_envelopes_received_total", MetricType::Counter, "Envelopes taken."},
    {"insight_bus_bytes_received_total", MetricType::Counter, "Bytes of the envelopes taken."},
    {"insight_bus_records_received_total", MetricType::Counter, "Records (points or spans) taken."},
    {"insight_bus_envelopes_refused_total", MetricType::Counter,
     "Messages that were not taken, by reason."},
    {"insight_bus_refused_bytes_total", MetricType::Counter,
     "Bytes of the messages that were not taken."},
    {"insight_bus_sequence_gaps_total", MetricType::Counter,
     "Envelopes that were sent and never came."},
    {"insight_bus_records_dropped_total", MetricType::Counter,
     "Records lost, by place and reason."},
    {"insight_bus_records_delivered_total", MetricType::Counter, "Records that a sink accepted."},
    {"insight_bus_records_filtered_total", MetricType::Counter,
     "Records that a sink's table leaves out."},
    {"insight_transport_latency_seconds", MetricType::Histogram,
     "From the publisher's send to the broker's receive."},
    {"insight_delivery_latency_seconds", MetricType::Histogram,
     "From the oldest record to the sink's acceptance."},
    {"insight_sink_up", MetricType::Gauge,
     "1 when the sink is open and its last write was not refused."},
    {"insight_sink_queue_bytes", MetricType::Gauge, "Bytes that wait for the sink."},
    {"insight_sink_queue_records", MetricType::Gauge, "Records that wait for the sink."},
    {"insight_sink_queue_limit_bytes", MetricType::Gauge,
     "Bytes that may wait for the sink, of each signal."},
    {"insight_sink_write_duration_seconds", MetricType::Histogram,
     "How long one write to the sink took."},
    {"insight_sink_retries_total", MetricType::Counter, "Writes that were tried again."},
    {"insight_sink_last_success_timestamp_seconds", MetricType::Gauge,
     "When the sink last accepted something, Unix time; 0 for never."},
    {"insight_collector_up", MetricType::Gauge, "1 when all endpoints of the collector are bound."},
    {"insight_publishers", MetricType::Gauge, "Publishers known, by state."},
    {"insight_publishers_not_shown", MetricType::Gauge,
     "Publishers without series of their own here, because there are too many."},
    {"insight_publisher_info", MetricType::Gauge, "Always 1; the labels say who the publisher is."},
    {"insight_publisher_up", MetricType::Gauge, "1 when the publisher is alive or late."},
    {"insight_publisher_ended", MetricType::Gauge, "1 when the publisher said bye."},
    {"insight_publisher_last_seen_timestamp_seconds", MetricType::Gauge,
     "When the publisher was last heard, Unix time."},
    {"insight_publisher_sequence_gaps_total", MetricType::Counter,
     "Envelopes of the publisher that never came."},
    {"insight_progress_age_seconds", MetricType::Gauge,
     "Since the publisher last said that this work goes on."},
    {"insight_series", MetricType::Gauge, "Series that the collector knows."},
    {"insight_series_limit", MetricType::Gauge, "Series that the collector may know."},
    {"insight_metric_series", MetricType::Gauge, "Series of the largest metrics."},
    {"insight_taps", MetricType::Gauge, "Clients that look at live records."},
    {"insight_taps_refused_total", MetricType::Counter,
     "Clients that were not let in because too many looked already."},
    {"insight_taps_cut_total", MetricType::Counter,
     "Clients that were cut off because they did not read."},
    {"insight_tap_records_total", MetricType::Counter,
     "Records that came by open taps, by what became of them there."},
}};

double number(uint64_t n) { return static_cast<double>(n); }

double seconds(uint64_t ns) { return static_cast<double>(ns) * 1e-9; }

class Page {
 public:
  Page() {
    for (size_t i = 0; i < id_count; ++i) {
      families_[i].name = kDescriptions[i].name;
      families_[i].help = kDescriptions[i].help;
      families_[i].type = kDescriptions[i].type;
    }
  }

  void add(Id id, Labels labels, double value) {
    ClientMetric metric;
    metric.label = std::move(labels);
    // What a publisher said of itself may be any bytes; one that is not UTF-8 fails a whole scrape.
    for (ClientMetric::Label& label : metric.label) label.value = to_utf8(label.value);
    (families_[id].type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
    families_[id].metric.push_back(std::move(metric));
  }

  void add(Id id, Labels labels, const DurationHistogram::Snapshot& snapshot) {
    ClientMetric metric;
    metric.label = std::move(labels);
    uint64_t below = 0;
    for (size_t i = 0; i < DurationHistogram::kBounds.size(); ++i) {
      below += snapshot.buckets[i];
      metric.histogram.bucket.push_back({below, DurationHistogram::kBounds[i]});
    }
    metric.histogram.sample_count = below + snapshot.buckets.back();
    metric.histogram.sample_sum = snapshot.sum_seconds;
    families_[id].metric.push_back(std::move(metric));
  }

  const std::array<MetricFamily, id_count>& families() const noexcept { return families_; }

  std::string text() const {
    std::vector<MetricFamily> present;
    for (const MetricFamily& family : families_) {
      if (!family.metric.empty()) present.push_back(family);
    }
    std::ostringstream out;
    prometheus::TextSerializer().Serialize(out, present);
    return std::move(out).str();
  }

 private:
  std::array<MetricFamily, id_count> families_;
};

constexpr std::array kEnvelopeReasons{Reason::malformed, Reason::version,   Reason::foreign,
                                      Reason::multipart, Reason::too_large, Reason::duplicate};
constexpr std::array kIngressReasons{Reason::bad_family, Reason::bad_value,    Reason::bad_time,
                                     Reason::bad_id,     Reason::unknown_kind, Reason::cardinality,
                                     Reason::late};
constexpr std::array kQueueReasons{Reason::queue_full, Reason::gave_up, Reason::stopped};
constexpr std::array kSinkReasons{Reason::rejected, Reason::conflict,    Reason::schema,
                                  Reason::regress,  Reason::unsupported, Reason::cardinality};

template <size_t n>
bool contains(const std::array<Reason, n>& reasons, Reason reason) {
  return std::ranges::find(reasons, reason) != reasons.end();
}

std::string text_of(Reason reason) { return std::string(to_string(reason)); }

Labels dropped_labels(const char* stage, std::string reason, const std::string& sink) {
  Labels labels{{"stage", stage}, {"reason", std::move(reason)}};
  if (!sink.empty()) labels.push_back({"sink", sink});
  return labels;
}

void add_collector(Page& page, const CollectorStats& stats) {
  const std::string& name = stats.name;
  for (size_t i = 0; i < kSignalCount; ++i) {
    const Labels labels{{"collector", name},
                        {"signal", std::string(to_string(static_cast<Signal>(i)))}};
    page.add(envelopes_received, labels, number(stats.envelopes[i]));
    page.add(bytes_received, labels, number(stats.bytes[i]));
    page.add(records_received, labels, number(stats.records[i]));
  }
  for (size_t i = 0; i < kReasonCount; ++i) {
    const auto reason = static_cast<Reason>(i);
    // Those that can happen are there from the start: rate() misses a first step from nothing.
    if (stats.envelopes_refused[i] == 0 && !contains(kEnvelopeReasons, reason)) continue;
    page.add(envelopes_refused, {{"collector", name}, {"reason", text_of(reason)}},
             number(stats.envelopes_refused[i]));
  }
  page.add(bytes_refused, {{"collector", name}}, number(stats.refused_bytes));
  page.add(sequence_gaps, {{"collector", name}}, number(stats.gaps));
  for (size_t i = 0; i < kLatencyMethodCount; ++i) {
    const auto method = static_cast<LatencyMethod>(i);
    if (method == LatencyMethod::estimated) continue;  // needs an exchange of clocks
    page.add(transport_latency, {{"collector", name}, {"method", std::string(to_string(method))}},
             stats.transport_latency[i]);
  }
  page.add(collector_up, {{"collector", name}}, stats.is_open ? 1 : 0);
  page.add(series, {{"collector", name}}, number(stats.series));
  page.add(series_limit, {{"collector", name}}, number(stats.series_limit));
}

/// Losses before the sinks, over all collectors.
void add_ingress_losses(Page& page, const std::vector<CollectorStats>& collectors) {
  ReasonArray ingress{};
  std::map<std::string, uint64_t> at_publishers;
  uint64_t in_transport = 0;
  for (const CollectorStats& stats : collectors) {
    for (size_t i = 0; i < kReasonCount; ++i) ingress[i] += stats.records_dropped[i];
    for (const auto& [reason, n] : stats.dropped_at_publishers) at_publishers[to_utf8(reason)] += n;
    in_transport += stats.spans_lost;
  }
  for (const auto& [reason, n] : at_publishers) {
    page.add(records_dropped, dropped_labels("publisher", reason, {}), number(n));
  }
  page.add(records_dropped, dropped_labels("transport", "lost", {}), number(in_transport));
  for (size_t i = 0; i < kReasonCount; ++i) {
    const auto reason = static_cast<Reason>(i);
    if (ingress[i] == 0 && !contains(kIngressReasons, reason)) continue;
    page.add(records_dropped, dropped_labels("ingress", text_of(reason), {}), number(ingress[i]));
  }
}

void add_largest_metrics(Page& page, const std::vector<CollectorStats>& collectors) {
  std::map<std::string, uint64_t> sum;
  for (const CollectorStats& stats : collectors) {
    for (const auto& [metric, n] : stats.largest_metrics) sum[to_utf8(metric)] += n;
  }
  for (const auto& [metric, n] : sum) page.add(metric_series, {{"metric", metric}}, number(n));
}

void add_sink(Page& page, const SinkSnapshot& sink) {
  const Labels label{{"sink", sink.name}};
  uint64_t waiting_bytes = 0, waiting_records = 0;
  ReasonArray dropped{};
  for (size_t i = 0; i < kSignalCount; ++i) {
    const Labels labels{{"sink", sink.name},
                        {"signal", std::string(to_string(static_cast<Signal>(i)))}};
    page.add(records_delivered, labels, number(sink.delivered[i]));
    page.add(records_filtered, labels, number(sink.filtered[i]));
    page.add(delivery_latency, labels, sink.delivery_latency[i]);
    waiting_bytes += sink.queue_bytes[i];
    waiting_records += sink.queue_records[i];
    for (size_t r = 0; r < kReasonCount; ++r) dropped[r] += sink.dropped[i][r];
  }
  for (size_t i = 0; i < kReasonCount; ++i) {
    const auto reason = static_cast<Reason>(i);
    const bool is_queue = contains(kQueueReasons, reason);
    if (dropped[i] == 0 && !is_queue && !contains(kSinkReasons, reason)) continue;
    page.add(records_dropped,
             dropped_labels(is_queue ? "queue" : "sink", text_of(reason), sink.name),
             number(dropped[i]));
  }
  page.add(sink_up, label, sink.is_up ? 1 : 0);
  page.add(sink_queue_bytes, label, number(waiting_bytes));
  page.add(sink_queue_records, label, number(waiting_records));
  page.add(sink_queue_limit, label, number(sink.queue_limit_bytes));
  page.add(sink_write_duration, label, sink.write_duration);
  page.add(sink_retries, label, number(sink.retries));
  page.add(sink_last_success, label, seconds(sink.last_success_wall_ns));
}

void add_publisher(Page& page, const PublisherView& view) {
  const Incarnation& incarnation = *view.incarnation;
  Labels labels{{"publisher", to_hex(incarnation.id.view())}};
  for (const char* key : {"run", "role", "rank"}) {
    std::string text = resource_text(incarnation, key);
    if (!text.empty()) labels.push_back({key, std::move(text)});
  }
  labels.push_back({"host", resource_text(incarnation, "host.name")});
  Labels info = labels;
  info.push_back({"service", resource_text(incarnation, "service.name")});
  info.push_back({"pid", resource_text(incarnation, "process.pid")});
  page.add(publisher_info, std::move(info), 1);
  const bool is_up = view.life == Life::alive || view.life == Life::late;
  page.add(publisher_up, labels, is_up ? 1 : 0);
  page.add(publisher_ended, labels, view.life == Life::ended ? 1 : 0);
  page.add(publisher_last_seen, labels, seconds(view.last_seen_wall_ns));
  page.add(publisher_gaps, labels, number(view.gaps));
}

void add_publishers(Page& page, const Status& status) {
  std::array<uint64_t, 4> by_life{};
  for (const CollectorStats& stats : status.collectors) {
    for (size_t i = 0; i < by_life.size(); ++i) by_life[i] += stats.publishers[i];
  }
  for (size_t i = 0; i < by_life.size(); ++i) {
    page.add(publishers, {{"state", std::string(to_string(static_cast<Life>(i)))}},
             number(by_life[i]));
  }
  // One that sends to two collectors is known to both; a series that stands on a page twice fails
  // the whole scrape.
  std::map<std::string_view, const PublisherView*> by_id;
  for (const PublisherView& view : status.publishers) {
    const PublisherView*& known = by_id[view.incarnation->id.view()];
    if (known == nullptr || known->last_seen_wall_ns < view.last_seen_wall_ns) known = &view;
  }
  std::vector<const PublisherView*> views;
  for (const auto& [id, view] : by_id) views.push_back(view);
  const size_t shown = std::min(views.size(), kMaxPublishersShown);
  std::ranges::partial_sort(
      views, views.begin() + static_cast<std::ptrdiff_t>(shown), {},
      [](const PublisherView* view) { return std::pair(view->life, ~view->last_seen_wall_ns); });
  for (size_t i = 0; i < shown; ++i) add_publisher(page, *views[i]);
  const uint64_t known = std::accumulate(by_life.begin(), by_life.end(), uint64_t{0});
  const uint64_t left_out = known - std::min<uint64_t>(known, status.publishers.size());
  page.add(publishers_not_shown, {}, number(left_out + views.size() - shown));
}

void add_progress(Page& page, const std::vector<ProgressAge>& progress) {
  std::map<std::pair<std::string, std::string>, double> newest;
  for (const ProgressAge& age : progress) {
    const auto key = std::pair(to_hex(age.incarnation->id.view()), to_utf8(age.name));
    const auto [known, is_new] = newest.emplace(key, age.seconds);
    if (!is_new) known->second = std::min(known->second, age.seconds);
  }
  for (const auto& [key, seconds_ago] : newest) {
    page.add(progress_age, {{"publisher", key.first}, {"name", key.second}}, seconds_ago);
  }
}

void add_taps(Page& page, const TapStats& stats) {
  page.add(taps, {}, number(stats.open));
  page.add(taps_refused, {}, number(stats.refused));
  page.add(taps_cut, {}, number(stats.cut));
  page.add(tap_records, {{"outcome", "sent"}}, number(stats.sent));
  page.add(tap_records, {{"outcome", "left_out"}}, number(stats.left_out));
  page.add(tap_records, {{"outcome", "other"}}, number(stats.other));
}

Page make_page(const Status& status) {
  Page page;
  page.add(build_info, {{"version", status.version}, {"revision", status.revision}}, 1);
  page.add(start_time, {}, seconds(status.started_wall_ns));
  for (const CollectorStats& stats : status.collectors) add_collector(page, stats);
  add_ingress_losses(page, status.collectors);
  add_largest_metrics(page, status.collectors);
  for (const SinkSnapshot& sink : status.sinks) add_sink(page, sink);
  add_publishers(page, status);
  add_progress(page, status.progress);
  add_taps(page, status.taps);
  return page;
}

const char* kind_of(MetricType type) {
  if (type == MetricType::Counter) return "counter";
  return type == MetricType::Histogram ? "histogram" : "gauge";
}

MetricDetail describe(const MetricFamily& family) {
  MetricDetail out;
  out.summary = {.name = family.name,
                 .kind = kind_of(family.type),
                 .unit = std::string(unit_of(family.name)),
                 .help = family.help,
                 .series = family.metric.size()};
  out.declared = "the bus itself";
  out.examined = family.metric.size();
  if (family.type == MetricType::Histogram) {
    out.bounds.assign(DurationHistogram::kBounds.begin(), DurationHistogram::kBounds.end());
  }
  LabelCounts labels;
  for (const ClientMetric& metric : family.metric) {
    for (const ClientMetric::Label& label : metric.label) labels.add(label.name, label.value);
  }
  out.labels = labels.labels();
  return out;
}

}  // namespace

std::string render_own_metrics(const Status& status, Exposition exposition) {
  const Page page = make_page(status);
  return exposition == Exposition::open_metrics ? to_open_metrics(page.text()) : page.text();
}

std::vector<MetricDetail> describe_own_metrics(const Status& status) {
  const Page page = make_page(status);
  std::vector<MetricDetail> out;
  for (const MetricFamily& family : page.families()) out.push_back(describe(family));
  return out;
}

std::vector<std::string> own_metric_names() {
  std::vector<std::string> names;
  for (const Description& description : kDescriptions) {
    names.emplace_back(description.name);
    const std::string base(without_total(description.name));
    if (description.type == MetricType::Counter) names.push_back(base);
    if (description.type != MetricType::Gauge) names.push_back(base + "_created");
    if (description.type != MetricType::Histogram) continue;
    for (const char* part : {"_bucket", "_count", "_sum"}) {
      names.push_back(std::string(description.name) + part);
    }
  }
  return names;
}

}  // namespace insight
