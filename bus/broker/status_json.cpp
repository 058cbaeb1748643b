// SPDX-License-Identifier: Apache-2.0
#include "bus/broker/status_json.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>
#include <variant>

#include <nlohmann/json.hpp>

#include "bus/base/text.hpp"

namespace insight {

namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kLifeCount = 4;

double seconds(uint64_t ns) { return static_cast<double>(ns) * 1e-9; }

/// What publishers say of themselves may be any bytes; the answer is valid JSON all the same.
std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// "2026-01-31T12:00:00.000Z"; null for never.
Json time_text(uint64_t wall_ns) {
  if (wall_ns == 0) return nullptr;
  const auto at = static_cast<time_t>(wall_ns / kSecond);
  std::tm utc{};
  gmtime_r(&at, &utc);
  std::array<char, 32> text{};
  const size_t n = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &utc);
  const std::string milliseconds = std::to_string(wall_ns % kSecond / kMillisecond + 1000);
  return std::string(text.data(), n) + "." + milliseconds.substr(1) + "Z";
}

Json by_signal(const std::array<uint64_t, kSignalCount>& counts) {
  Json out;
  for (size_t i = 0; i < kSignalCount; ++i) {
    out[std::string(to_string(static_cast<Signal>(i)))] = counts[i];
  }
  return out;
}

Json by_reason(const ReasonArray& counts) {
  Json out = Json::object();
  for (size_t i = 0; i < kReasonCount; ++i) {
    if (counts[i] != 0) out[std::string(to_string(static_cast<Reason>(i)))] = counts[i];
  }
  return out;
}

Json by_life(const std::array<uint64_t, kLifeCount>& counts) {
  Json out;
  for (size_t i = 0; i < kLifeCount; ++i) {
    out[std::string(to_string(static_cast<Life>(i)))] = counts[i];
  }
  return out;
}

/// Count, mean, the bound below which 99 of 100 lie, and the buckets in which something lies, by
/// upper bound; null where nothing was measured or it lies above all bounds.
Json durations(const DurationHistogram::Snapshot& snapshot) {
  uint64_t count = 0;
  Json buckets = Json::array();
  for (size_t i = 0; i < snapshot.buckets.size(); ++i) {
    const uint64_t n = snapshot.buckets[i];
    count += n;
    if (n == 0) continue;
    Json bound = nullptr;
    if (i < DurationHistogram::kBounds.size()) bound = DurationHistogram::kBounds[i];
    buckets.push_back({{"le", std::move(bound)}, {"count", n}});
  }
  Json out{{"count", count},
           {"mean_seconds", nullptr},
           {"p99_seconds", nullptr},
           {"buckets", std::move(buckets)}};
  if (count == 0) return out;
  out["mean_seconds"] = snapshot.sum_seconds / static_cast<double>(count);
  uint64_t below = 0;
  for (size_t i = 0; i < DurationHistogram::kBounds.size(); ++i) {
    below += snapshot.buckets[i];
    if (below * 100 < count * 99) continue;
    out["p99_seconds"] = DurationHistogram::kBounds[i];
    break;
  }
  return out;
}

Json collector_json(const CollectorStats& stats) {
  Json latency;
  for (const LatencyMethod method : {LatencyMethod::mono, LatencyMethod::none}) {
    latency[std::string(to_string(method))] =
        durations(stats.transport_latency[static_cast<size_t>(method)]);
  }
  return {{"name", stats.name},
          {"type", stats.type},
          {"open", stats.is_open},
          {"endpoints", stats.endpoints},
          {"envelopes", by_signal(stats.envelopes)},
          {"bytes", by_signal(stats.bytes)},
          {"records", by_signal(stats.records)},
          {"refused", by_reason(stats.envelopes_refused)},
          {"refused_bytes", stats.refused_bytes},
          {"dropped", by_reason(stats.records_dropped)},
          {"dropped_at_publishers", stats.dropped_at_publishers},
          {"sequence_gaps", stats.gaps},
          {"spans_lost", stats.spans_lost},
          {"resources_changed", stats.resources_changed},
          {"transport_latency", std::move(latency)},
          {"publishers", by_life(stats.publishers)},
          {"series", stats.series},
          {"series_limit", stats.series_limit}};
}

Json sink_json(const SinkSnapshot& sink) {
  Json dropped, latency;
  for (size_t i = 0; i < kSignalCount; ++i) {
    const std::string signal(to_string(static_cast<Signal>(i)));
    dropped[signal] = by_reason(sink.dropped[i]);
    latency[signal] = durations(sink.delivery_latency[i]);
  }
  Json last_error = nullptr;
  if (!sink.last_error.empty()) last_error = sink.last_error;
  return {{"name", sink.name},
          {"type", sink.type},
          {"up", sink.is_up},
          {"opened", sink.has_opened},
          {"last_error", std::move(last_error)},
          {"last_error_time", time_text(sink.last_error_wall_ns)},
          {"last_success_time", time_text(sink.last_success_wall_ns)},
          {"received", by_signal(sink.received)},
          {"delivered", by_signal(sink.delivered)},
          {"filtered", by_signal(sink.filtered)},
          {"dropped", std::move(dropped)},
          {"queue_records", by_signal(sink.queue_records)},
          {"queue_bytes", by_signal(sink.queue_bytes)},
          {"queue_limit_bytes", sink.queue_limit_bytes},
          {"retries", sink.retries},
          {"write_duration", durations(sink.write_duration)},
          {"delivery_latency", std::move(latency)},
          {"figures", sink.figures}};
}

Json series_of(const Status& status) {
  Json metrics = Json::array(), offenders = Json::array(), refusals = Json::array();
  uint64_t series = 0, limit = 0;
  for (const CollectorStats& stats : status.collectors) {
    series += stats.series;
    limit += stats.series_limit;
    for (const auto& [metric, n] : stats.largest_metrics) {
      metrics.push_back({{"metric", metric}, {"series", n}, {"collector", stats.name}});
    }
    for (const CollectorStats::Offender& offender : stats.offenders) {
      offenders.push_back({{"metric", offender.metric},
                           {"publisher", offender.publisher},
                           {"limit", offender.limit},
                           {"points_dropped", offender.points},
                           {"collector", stats.name}});
    }
  }
  for (const SinkSnapshot& sink : status.sinks) {
    for (const SinkSnapshot::Refusal& refusal : sink.refusals) {
      refusals.push_back({{"metric", refusal.metric},
                          {"reason", std::string(to_string(refusal.reason))},
                          {"first", refusal.first},
                          {"second", refusal.second},
                          {"points_dropped", refusal.points},
                          {"sink", sink.name}});
    }
  }
  return {{"series", series},
          {"limits",
           {{"series", limit},
            {"series_per_metric", status.series_per_metric_limit},
            {"series_per_publisher", status.series_per_publisher_limit}}},
          {"largest_metrics", std::move(metrics)},
          {"offenders", std::move(offenders)},
          {"refusals", std::move(refusals)}};
}

Json publisher_json(const PublisherView& view, const Now& now) {
  const Incarnation& incarnation = *view.incarnation;
  Json resource = Json::object();
  for (const auto& [key, scalar] : incarnation.resource.attributes) {
    std::visit([&resource, &name = key](const auto& value) { resource[name] = value; }, scalar);
  }
  const uint64_t silent_ns = now.mono_ns - std::min(now.mono_ns, view.last_seen_mono_ns);
  return {{"incarnation", to_hex(incarnation.id.view())},
          {"name", publisher_name(incarnation)},
          {"state", std::string(to_string(view.life))},
          {"started", time_text(incarnation.t0_ns)},
          {"last_seen", time_text(view.last_seen_wall_ns)},
          {"silent_seconds", seconds(silent_ns)},
          {"every_seconds", seconds(incarnation.every_ns())},
          {"resource", std::move(resource)},
          {"highest_seq", view.highest_seq},
          {"envelopes", view.envelopes},
          {"points", view.points},
          {"spans", view.spans},
          {"series", view.series},
          {"sequence_gaps", view.gaps},
          {"duplicates", view.duplicates},
          {"late", view.late},
          {"spans_lost", view.spans_lost},
          {"accounts", view.accounts}};
}

}  // namespace

Result<PublisherQuery> parse_publisher_query(std::string_view query) {
  PublisherQuery out;
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    const size_t equals = pair.find('=');
    const std::string_view key = pair.substr(0, equals);
    const std::string_view value =
        equals == std::string_view::npos ? std::string_view() : pair.substr(equals + 1);
    if (key == "state") {
      for (size_t i = 0; i < kLifeCount; ++i) {
        if (value == to_string(static_cast<Life>(i))) out.state = static_cast<Life>(i);
      }
      if (!out.state) return Error{"state must be alive, late, lost or ended"};
    } else if (key == "limit") {
      const auto [end, error] =
          std::from_chars(value.data(), value.data() + value.size(), out.limit);
      if (error != std::errc{} || end != value.data() + value.size() || value.empty()) {
        return Error{"limit must be a whole number"};
      }
    } else {
      return Error{"unknown parameter; known: state, limit"};
    }
  }
  return out;
}

std::string status_json(const Status& status) {
  std::array<uint64_t, kLifeCount> lives{};
  Json collectors = Json::array(), sinks = Json::array();
  for (const CollectorStats& stats : status.collectors) {
    for (size_t i = 0; i < kLifeCount; ++i) lives[i] += stats.publishers[i];
    collectors.push_back(collector_json(stats));
  }
  for (const SinkSnapshot& sink : status.sinks) sinks.push_back(sink_json(sink));
  Json state_directory = nullptr;
  if (!status.state_directory.empty()) state_directory = status.state_directory;
  return dump({{"name", status.name},
               {"version", status.version},
               {"revision", status.revision},
               {"pid", status.pid},
               {"cpu_seconds", seconds(status.cpu_ns)},
               {"started", time_text(status.started_wall_ns)},
               {"uptime_seconds", seconds(status.now.mono_ns - status.started_mono_ns)},
               {"health", status.problems.empty() ? "healthy" : "degraded"},
               {"problems", status.problems},
               {"state_directory", std::move(state_directory)},
               {"collectors", std::move(collectors)},
               {"sinks", std::move(sinks)},
               {"publishers", by_life(lives)},
               {"series", series_of(status)}}) +
         "\n";
}

std::string series_json(const Status& status) { return dump(series_of(status)) + "\n"; }

std::string publishers_json(const Status& status, const PublisherQuery& query) {
  std::array<uint64_t, kLifeCount> lives{};
  std::vector<const PublisherView*> wanted;
  for (const PublisherView& view : status.publishers) {
    ++lives[static_cast<size_t>(view.life)];
    if (!query.state || view.life == *query.state) wanted.push_back(&view);
  }
  std::ranges::sort(wanted, {}, [](const PublisherView* view) {
    return std::tuple(view->life, ~view->last_seen_wall_ns, view->incarnation->id);
  });
  // Piece by piece: a tree of 100,000 publishers would take hundreds of megabytes.
  std::string out = "{\"states\":" + dump(by_life(lives)) +
                    ",\"matched\":" + std::to_string(wanted.size()) + ",\"publishers\":[";
  wanted.resize(std::min(wanted.size(), query.limit));
  bool is_first = true;
  for (const PublisherView* view : wanted) {
    if (!std::exchange(is_first, false)) out += ',';
    out += dump(publisher_json(*view, status.now));
  }
  return out + "]}\n";
}

}  // namespace insight
