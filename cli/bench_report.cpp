// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_report.hpp"

#include <algorithm>
#include <cmath>

#include "cli/ask.hpp"

namespace insight::cli {

namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr double kMaxLatency = 0.5;  // seconds, p99: beyond, a bus is behind its publishers
constexpr double kLeastInTime = 0.95;
constexpr double kWaitsForBus = 0.1;  // of its time, at least

std::array<uint64_t, 2> by_signal(const json& counts) {
  return {counts.at("metrics").get<uint64_t>(), counts.at("spans").get<uint64_t>()};
}

void add_latencies(const json& histogram, std::map<double, uint64_t>& out) {
  for (const json& bucket : histogram.at("buckets")) {
    const json& bound = bucket.at("le");
    const double le =
        bound.is_null() ? std::numeric_limits<double>::infinity() : bound.get<double>();
    out[le] += bucket.at("count").get<uint64_t>();
  }
}

BusCounts::Sink sink_counts(const json& sink) {
  BusCounts::Sink out;
  out.name = sink.at("name").get<std::string>();
  out.received = by_signal(sink.at("received"));
  // What the sink's table leaves out is no loss.
  out.delivered = total(sink.at("delivered")) + total(sink.value("filtered", json::object()));
  for (const json& reasons : sink.at("dropped")) {
    const uint64_t in_queue = reasons.value("queue_full", uint64_t{0});
    out.dropped_in_queue += in_queue;
    out.dropped_by_sink += total(reasons) - in_queue;
  }
  out.waiting = total(sink.at("queue_records"));
  for (const json& each : sink.at("delivery_latency")) add_latencies(each, out.latencies);
  return out;
}

template <typename Value, typename Read>
Result<Value> guarded(const Read& read) {
  try {
    return read();
  } catch (const json::exception&) {
    return Error{
        "the broker's answer has not the counts that bench needs: it is of another version"};
  }
}

double total_records(const Measurement& m) {
  return static_cast<double>(
      std::max<uint64_t>(1, m.after.all_received() - m.before.all_received()));
}

ordered_json bounds(const Quantile& q) {
  if (std::isnan(q.to)) return nullptr;
  ordered_json above = nullptr;
  if (std::isfinite(q.to)) above = q.to;
  return {{"above", q.from}, {"at_most", std::move(above)}};
}

ordered_json latency_json(const std::map<double, uint64_t>& counts) {
  return {{"p50", bounds(quantile(counts, 0.5))},
          {"p99", bounds(quantile(counts, 0.99))},
          {"p99.9", bounds(quantile(counts, 0.999))}};
}

}  // namespace

Result<BusCounts> bus_counts(const json& status) {
  return guarded<BusCounts>([&] {
    BusCounts out;
    out.life = status.at("started").get<std::string>() + " " +
               std::to_string(status.at("pid").get<int64_t>());
    out.uptime_seconds = status.at("uptime_seconds").get<double>();
    out.cpu_seconds = status.at("cpu_seconds").get<double>();
    for (const json& collector : status.at("collectors")) {
      const auto records = by_signal(collector.at("records"));
      for (size_t i = 0; i < records.size(); ++i) out.received[i] += records[i];
      out.dropped_at_ingress += total(collector.at("dropped"));
    }
    for (const json& sink : status.at("sinks")) out.sinks.push_back(sink_counts(sink));
    return out;
  });
}

Result<Received> received_of(const json& publishers, const std::vector<Load::Publisher>& ours) {
  return guarded<Received>([&] {
    Received out;
    for (const Load::Publisher& mine : ours) {
      const json* found = nullptr;
      for (const json& each : publishers.at("publishers")) {
        if (each.at("incarnation") == mine.incarnation) found = &each;
      }
      if (found == nullptr) {
        out.missing_envelopes += mine.envelopes;
        continue;
      }
      out.records += found->at("points").get<uint64_t>() + found->at("spans").get<uint64_t>();
      out.missing_envelopes += found->at("sequence_gaps").get<uint64_t>();
      out.missing_envelopes +=
          mine.envelopes - std::min(mine.envelopes, found->at("highest_seq").get<uint64_t>());
    }
    return out;
  });
}

std::string cannot_compare(const BusCounts& before, const BusCounts& after) {
  if (before.life != after.life || after.uptime_seconds < before.uptime_seconds) {
    return "the broker was started anew while it was measured";
  }
  bool has_fallen = after.all_received() < before.all_received() ||
                    before.sinks.size() != after.sinks.size() ||
                    after.dropped_at_ingress < before.dropped_at_ingress;
  for (size_t i = 0; !has_fallen && i < before.sinks.size(); ++i) {
    const BusCounts::Sink &was = before.sinks[i], &is = after.sinks[i];
    has_fallen = was.name != is.name || is.received[0] < was.received[0] ||
                 is.received[1] < was.received[1] || is.delivered < was.delivered ||
                 is.dropped_in_queue < was.dropped_in_queue ||
                 is.dropped_by_sink < was.dropped_by_sink;
  }
  return has_fallen ? "the broker's counts began anew while it was measured" : "";
}

Quantile quantile(const std::map<double, uint64_t>& counts, double share) {
  uint64_t all = 0;
  for (const auto& [bound, n] : counts) all += n;
  if (all == 0) return {};
  // The bounds of the bus's histogram; where nothing lies between two of them, they are still the
  // resolution.
  uint64_t below = 0;
  for (const auto& [bound, n] : counts) {
    below += n;
    if (static_cast<double>(below) < share * static_cast<double>(all)) continue;
    const auto upper = std::ranges::lower_bound(DurationHistogram::kBounds, bound);
    return {upper == DurationHistogram::kBounds.begin() ? 0 : *(upper - 1), bound};
  }
  return {};
}

uint64_t Measurement::others() const {
  const uint64_t all = after.all_received() - before.all_received();
  return all - std::min(all, received.records);
}

uint64_t Measurement::lost_in_transport() const {
  // Counted by gaps in the sequence numbers; records that are missing without a gap are
  // unexplained.
  if (received.missing_envelopes == 0) return 0;
  return load.sent - std::min(load.sent, received.records);
}

std::vector<Measurement::SinkBalance> Measurement::balances() const {
  std::vector<SinkBalance> out;
  for (size_t i = 0; i < after.sinks.size(); ++i) {
    const BusCounts::Sink &was = before.sinks[i], &is = after.sinks[i];
    SinkBalance balance{.name = is.name,
                        .delivered = is.delivered - was.delivered,
                        .queue = is.dropped_in_queue - was.dropped_in_queue,
                        .sink = is.dropped_by_sink - was.dropped_by_sink,
                        .in_flight = is.waiting - std::min(is.waiting, was.waiting)};
    for (size_t signal = 0; signal < is.received.size(); ++signal) {
      if (is.received[signal] != 0) continue;
      balance.not_asked_for += after.received[signal] - before.received[signal];
    }
    balance.unexplained =
        static_cast<int64_t>(recorded()) -
        static_cast<int64_t>(load.dropped + lost_in_transport() + dropped_at_ingress() +
                             balance.not_asked_for + balance.delivered + balance.queue +
                             balance.sink + balance.in_flight);
    balance.latencies = is.latencies;
    for (const auto& [bound, n] : was.latencies) {
      if ((balance.latencies[bound] -= n) == 0) balance.latencies.erase(bound);
    }
    out.push_back(std::move(balance));
  }
  return out;
}

Quantile Measurement::latency(double share) const {
  Quantile worst;
  for (const SinkBalance& balance : balances()) {
    const Quantile q = quantile(balance.latencies, share);
    if (std::isnan(worst.to) || q.to > worst.to) worst = q;
  }
  return worst;
}

bool Measurement::adds_up() const {
  return std::ranges::all_of(balances(), [](const SinkBalance& b) { return b.unexplained == 0; });
}

std::string losses(const Measurement& m) {
  const auto lost = [](uint64_t n, const std::string& where) {
    return std::to_string(n) + " records were lost " + where;
  };
  if (m.load.dropped > 0) return lost(m.load.dropped, "at the publishers: no room for a second");
  if (m.lost_in_transport() > 0) return lost(m.lost_in_transport(), "in transport");
  if (m.dropped_at_ingress() > 0) return lost(m.dropped_at_ingress(), "at ingress");
  for (const Measurement::SinkBalance& balance : m.balances()) {
    if (balance.queue > 0) return lost(balance.queue, "in the queue of sink " + balance.name);
    if (balance.sink > 0) return lost(balance.sink, "by sink " + balance.name);
  }
  return {};
}

std::string overload(const Measurement& m) {
  if (std::string lost = losses(m); !lost.empty()) return lost;
  if (m.latency(0.99).to > kMaxLatency) return "1 of 100 records took more than 500ms";
  if (static_cast<double>(m.delivered_in_time) <
      kLeastInTime * static_cast<double>(m.load.recorded)) {
    return "the sinks fell behind";
  }
  return {};
}

bool is_limited_by_publishers(const Measurement& m, uint64_t publishers) {
  const double waited = static_cast<double>(m.load.blocked_ns) / 1e9;
  return m.load.dropped > 0 && waited < kWaitsForBus * m.seconds * static_cast<double>(publishers);
}

ordered_json to_json(const Measurement& m) {
  ordered_json sinks = ordered_json::array();
  for (const Measurement::SinkBalance& b : m.balances()) {
    sinks.push_back({{"name", b.name},
                     {"delivered", b.delivered},
                     {"dropped", {{"queue", b.queue}, {"sink", b.sink}}},
                     {"in_flight", b.in_flight},
                     {"not_asked_for", b.not_asked_for},
                     {"unexplained", b.unexplained},
                     {"latency_seconds", latency_json(b.latencies)}});
  }
  const double broker_ns = (m.after.cpu_seconds - m.before.cpu_seconds) * 1e9 / total_records(m);
  const double publisher_ns =
      m.publisher_cpu_seconds * 1e9 / static_cast<double>(std::max<uint64_t>(1, m.load.recorded));
  return {{"rate", m.rate},
          {"began", m.began},
          {"seconds", m.seconds},
          {"throughput", m.throughput()},
          {"recorded", m.load.recorded},
          {"recorded_by_others", m.others()},
          {"dropped",
           {{"publisher", m.load.dropped},
            {"transport", m.lost_in_transport()},
            {"ingress", m.dropped_at_ingress()}}},
          {"sinks", std::move(sinks)},
          {"adds_up", m.adds_up()},
          {"cpu_ns_per_record", {{"broker", broker_ns}, {"publishers", publisher_ns}}}};
}

}  // namespace insight::cli
