// SPDX-License-Identifier: Apache-2.0
#include "bus/broker/series_json.hpp"

#include <algorithm>
#include <charconv>
#include <tuple>
#include <utility>

#include <nlohmann/json.hpp>

#include "bus/base/text.hpp"
#include "bus/broker/tap_filter.hpp"
#include "bus/metrics/own_metrics.hpp"

namespace insight {

namespace {

using Json = nlohmann::ordered_json;

/// What publishers say of themselves may be any bytes; the answer is valid JSON all the same.
std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json source(bool has_source) { return has_source ? Json("aggregate") : Json(nullptr); }

Json summary_json(const MetricSummary& metric) {
  Json silent = nullptr;
  if (metric.silent_seconds) silent = *metric.silent_seconds;
  return {{"metric", metric.name},
          {"kind", metric.kind},
          {"unit", metric.unit},
          {"help", metric.help},
          {"series", metric.series},
          {"publishers", metric.publishers},
          {"publishers_at_least", metric.is_at_least},
          {"silent_seconds", std::move(silent)}};
}

Json detail_json(const MetricDetail& metric) {
  Json out = summary_json(metric.summary);
  Json labels = Json::array(), publishers = Json::array();
  for (const MetricDetail::Label& label : metric.labels) {
    Json top = Json::array();
    for (const auto& [value, series] : label.top) {
      top.push_back({{"value", value}, {"series", series}});
    }
    labels.push_back({{"label", label.name},
                      {"values", label.values},
                      {"values_at_least", label.is_at_least},
                      {"top", std::move(top)}});
  }
  for (const MetricDetail::Publisher& publisher : metric.publishers) {
    publishers.push_back(
        {{"name", publisher.name}, {"state", publisher.state}, {"series", publisher.series}});
  }
  out["merge"] = metric.merge.empty() ? Json(nullptr) : Json(metric.merge);
  out["declared_by"] = metric.declared;
  out["bounds"] = metric.bounds;
  out["dormant"] = metric.dormant;
  out["exemplars"] = metric.exemplars;
  out["series_examined"] = metric.examined;
  out["labels"] = std::move(labels);
  out["top_publishers"] = std::move(publishers);
  return out;
}

std::optional<Error> set_number(size_t& out, std::string_view key, std::string_view value,
                                size_t most) {
  const char* end = value.data() + value.size();
  const auto [stopped, error] = std::from_chars(value.data(), end, out);
  if (error == std::errc{} && stopped == end && out <= most) return {};
  return Error{std::string(key) + " must be a whole number up to " + std::to_string(most)};
}

std::optional<Error> set(SeriesQuery& query, std::string_view key, const std::string& value) {
  if (key == "explain" && !value.empty()) {
    query.explain = value;
  } else if (key == "name" && value.size() > kMaxGlobBytes) {
    return Error{"name must have at most " + std::to_string(kMaxGlobBytes) + " bytes"};
  } else if (key == "name") {
    query.list.name = value;
  } else if (key == "sort" && (value == "name" || value == "series")) {
    query.list.by_name = value == "name";
  } else if (key == "sort") {
    return Error{"sort must be series or name"};
  } else if (key == "limit") {
    return set_number(query.list.limit, key, value, SeriesQuery::kMaxLimit);
  } else if (key == "offset") {
    return set_number(query.list.offset, key, value, SeriesQuery::kMaxOffset);
  } else {
    return Error{"unknown parameter; known: name, sort, limit, offset, explain"};
  }
  return {};
}

}  // namespace

Result<SeriesQuery> parse_series_query(std::string_view query) {
  SeriesQuery out;
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    const size_t equals = std::min(pair.find('='), pair.size());
    const std::string_view value = pair.substr(std::min(equals + 1, pair.size()));
    if (auto error = set(out, pair.substr(0, equals), percent_decoded(value))) return *error;
  }
  return out;
}

std::vector<MetricSummary> own_metrics_like(std::string_view glob, const Status& status) {
  std::vector<MetricSummary> out;
  for (MetricDetail& each : describe_own_metrics(status)) {
    if (matches_glob(glob, each.summary.name)) out.push_back(std::move(each.summary));
  }
  return out;
}

void add_metrics(MetricList& list, std::vector<MetricSummary> own, const MetricQuery& query) {
  list.matched += own.size();
  for (MetricSummary& each : own) {
    list.series += each.series;
    list.metrics.push_back(std::move(each));
  }
  std::ranges::sort(list.metrics, [&](const MetricSummary& a, const MetricSummary& b) {
    if (query.by_name || a.series == b.series) return a.name < b.name;
    return a.series > b.series;
  });
  const size_t begin = std::min(query.offset, list.metrics.size());
  list.metrics.erase(list.metrics.begin(),
                     list.metrics.begin() + static_cast<std::ptrdiff_t>(begin));
  list.metrics.resize(std::min(query.limit, list.metrics.size()));
}

void add_own_metric(MetricAnswer& answer, const std::string& name, const Status& status) {
  std::vector<MetricDetail> own = describe_own_metrics(status);
  for (MetricDetail& each : own) {
    const std::string& full = each.summary.name;
    const bool is_sample =
        name.starts_with(full) && each.summary.kind == "histogram" &&
        (name == full + "_bucket" || name == full + "_sum" || name == full + "_count");
    if (name != full && name + "_total" != full && !is_sample) continue;
    answer.metric = std::move(each);
    answer.nearest.clear();
    return;
  }
  if (!answer.nearest.empty() || name.size() > 100) return;
  std::vector<std::string_view> names;
  for (const MetricDetail& each : own) names.push_back(each.summary.name);
  if (const auto near = nearest(name, names); !near.empty()) answer.nearest.emplace_back(near);
}

std::string metric_list_json(const MetricList& list, bool has_source) {
  // Piece by piece: a tree of all would take several times the memory.
  std::string out = "{\"source\":" + dump(source(has_source)) +
                    ",\"matched\":" + std::to_string(list.matched) +
                    ",\"series\":" + std::to_string(list.series) + ",\"metrics\":[";
  bool is_first = true;
  for (const MetricSummary& metric : list.metrics) {
    if (!std::exchange(is_first, false)) out += ',';
    out += dump(summary_json(metric));
  }
  return out + "]}\n";
}

std::string metric_answer_json(const MetricAnswer& answer, std::string_view name,
                               const Status& status, bool has_source) {
  Json refusals = Json::array(), offenders = Json::array();
  for (const SinkSnapshot::Refusal& refusal : answer.refusals) {
    refusals.push_back({{"metric", refusal.metric},
                        {"reason", std::string(to_string(refusal.reason))},
                        {"first", refusal.first},
                        {"second", refusal.second},
                        {"points_dropped", refusal.points}});
  }
  const std::string_view shown =
      answer.metric ? std::string_view(answer.metric->summary.name) : name;
  for (const CollectorStats& stats : status.collectors) {
    for (const CollectorStats::Offender& offender : stats.offenders) {
      if (offender.metric != shown && offender.metric + "_total" != shown) continue;
      offenders.push_back({{"metric", offender.metric},
                           {"publisher", offender.publisher},
                           {"limit", offender.limit},
                           {"points_dropped", offender.points},
                           {"collector", stats.name}});
    }
  }
  return dump({{"source", source(has_source)},
               {"metric", answer.metric ? detail_json(*answer.metric) : Json(nullptr)},
               {"nearest", answer.nearest},
               {"series_per_metric_limit", status.series_per_metric_limit},
               {"refusals", std::move(refusals)},
               {"offenders", std::move(offenders)}}) +
         "\n";
}

}  // namespace insight
