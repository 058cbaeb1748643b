// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_search.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <thread>

#include "bus/base/clock.hpp"
#include "bus/http/http_client.hpp"
#include "cli/terminal.hpp"

namespace insight::cli {

namespace {

using namespace std::chrono_literals;
using nlohmann::json;

constexpr auto kTimeout = 10s;  // of one question to the broker
constexpr uint64_t kSettleTimeout = 10 * kSecond;
constexpr uint64_t kSettleSilence = 2 * kSecond;
constexpr double kFirstRate = 20'000;
constexpr double kLeastRate = 100;
constexpr double kHighestRate = 1e9;
constexpr int kHalvings = 4;
constexpr int kConfirmations = 5;

/// Measures one bus.  Thread-bound.
class Bench {
 public:
  explicit Bench(const BenchSetting& setting)
      : http_(setting.http), load_(setting.load), signals_(setting.signals) {}

  /// Loads the bus; an error is a sentence, and an interrupted measurement says so.
  Result<Measurement> measure(double rate, double seconds) {
    Measurement m{.rate = rate, .seconds = seconds};
    const auto before = counts();
    if (!before) return before.error();
    m.before = *before;
    const auto received_before = received();
    if (!received_before) return received_before.error();
    const LoadCounts load_before = load_.counts();
    const uint64_t cpu_before = process_cpu_ns();
    m.began = static_cast<double>(wall_now_ns()) / 1e9;

    auto at_end = load_for(m);
    if (!at_end) return at_end.error();
    m.load = load_.counts() - load_before;
    if (m.is_interrupted) return m;
    const auto after = settled(m);
    if (!after) return after.error();
    m.after = *after;
    m.publisher_cpu_seconds = static_cast<double>(process_cpu_ns() - cpu_before) / 1e9;
    const auto received_after = received();
    if (!received_after) return received_after.error();
    m.received.records = received_after->records - received_before->records;
    m.received.missing_envelopes =
        received_after->missing_envelopes -
        std::min(received_after->missing_envelopes, received_before->missing_envelopes);
    m.delivered_in_time = delivered(m, *at_end);
    return m;
  }

  std::optional<bool> is_heard(uint64_t deadline_mono_ns) const {
    while (true) {
      const auto heard = received();
      if (heard && heard->missing_envelopes == 0) return true;
      if (mono_now_ns() > deadline_mono_ns) return false;
      if (signals_.wait_for(20ms)) return std::nullopt;
    }
  }

 private:
  Result<json> get(const std::string& path) const {
    const Result<HttpReply> reply = http_get("http://" + http_ + path, kTimeout);
    if (!reply || reply->status != 200) {
      return Error{
          "the broker at " + http_ + " went away while it was measured: " +
          (reply ? "HTTP status " + std::to_string(reply->status) : reply.error().message)};
    }
    return json::parse(reply->body, nullptr, false);
  }

  Result<BusCounts> counts() const {
    const Result<json> status = get("/api/v1/status");
    if (!status) return status.error();
    return bus_counts(*status);
  }

  Result<Received> received() const {
    const Result<json> publishers = get("/api/v1/publishers?limit=1000000");
    if (!publishers) return publishers.error();
    return received_of(*publishers, load_.publishers());
  }

  /// Now, of the same life of the broker.
  Result<BusCounts> counts_since(const BusCounts& before) const {
    Result<BusCounts> now = counts();
    if (!now) return now;
    const std::string why = cannot_compare(before, *now);
    return why.empty() ? std::move(now) : Error{why + ": nothing can be said of it"};
  }

  /// Runs the load; what the broker counted at the end of its time.
  Result<BusCounts> load_for(Measurement& m) {
    const auto duration_ns = static_cast<uint64_t>(m.seconds * 1e9);
    const uint64_t end_ns = mono_now_ns() + duration_ns;
    std::atomic<bool> stop{false}, is_done{false};
    std::jthread thread([&] {
      load_.run(m.rate, duration_ns, stop);
      is_done.store(true, std::memory_order_release);  // pairs with the acquire load below
    });
    Result<BusCounts> at_end = m.before;
    uint64_t next_look_ns = mono_now_ns() + kSecond;
    bool has_ended = false;
    while (!has_ended || !is_done.load(std::memory_order_acquire)) {
      const uint64_t now_ns = mono_now_ns();
      const uint64_t until_ns =
          has_ended ? now_ns + 5 * kMillisecond : std::min(end_ns, next_look_ns);
      const uint64_t wait_ms = until_ns > now_ns ? (until_ns - now_ns) / kMillisecond : 0;
      if (signals_.wait_for(std::chrono::milliseconds(wait_ms))) {
        m.is_interrupted = true;
        break;
      }
      if (has_ended || mono_now_ns() < std::min(end_ns, next_look_ns)) continue;
      has_ended = mono_now_ns() >= end_ns;
      next_look_ns += kSecond;
      at_end = counts_since(m.before);
      if (!at_end) break;
    }
    stop = true;
    return at_end;
  }

  /// Waits until all that was sent came through, or nothing moves any more.
  Result<BusCounts> settled(Measurement& m) const {
    const uint64_t deadline_ns = mono_now_ns() + kSettleTimeout;
    uint64_t moved_ns = mono_now_ns(), seen = 0;
    while (true) {
      const auto now = counts_since(m.before);
      if (!now) return now;
      uint64_t waiting = 0, progress = now->all_received();
      for (const BusCounts::Sink& sink : now->sinks) {
        waiting += sink.waiting;
        progress += sink.delivered + sink.dropped_by_sink + sink.dropped_in_queue;
      }
      if (progress != seen) moved_ns = mono_now_ns();
      seen = progress;
      const bool has_all =
          now->all_received() - m.before.all_received() >= m.load.sent && waiting == 0;
      const uint64_t now_ns = mono_now_ns();
      if (has_all || now_ns > deadline_ns || now_ns > moved_ns + kSettleSilence) return now;
      if (signals_.wait_for(20ms)) {
        m.is_interrupted = true;
        return now;
      }
    }
  }

  /// What the slowest sink had taken at the end of the load's time, of what it was to take.
  static uint64_t delivered(const Measurement& m, const BusCounts& at_end) {
    double least = 1;
    for (size_t i = 0; i < m.after.sinks.size(); ++i) {
      const BusCounts::Sink &was = m.before.sinks[i], &is = at_end.sinks[i];
      const uint64_t all = m.after.sinks[i].received[0] + m.after.sinks[i].received[1] -
                           was.received[0] - was.received[1];
      if (all == 0) continue;
      least = std::min(
          least, static_cast<double>(is.delivered - was.delivered) / static_cast<double>(all));
    }
    return static_cast<uint64_t>(least * static_cast<double>(m.load.sent));
  }

  const std::string& http_;
  Load& load_;
  const StopSignals& signals_;
};

class Search {
 public:
  explicit Search(const BenchSetting& setting)
      : bench_(setting),
        setting_(setting),
        step_seconds_(std::clamp(setting.seconds / 10, 0.5, 2.0)) {}

  Result<Findings> run() {
    double good = 0, bad = 0;
    for (double rate = kFirstRate; good == 0 || bad == 0;) {
      auto keeps_up = try_twice(rate);
      if (!keeps_up || is_interrupted()) return end(keeps_up);
      (*keeps_up ? good : bad) = rate;
      if (good >= kHighestRate || (good == 0 && rate <= kLeastRate)) break;
      rate = good == 0 ? rate / 4 : rate * 2;
    }
    for (int i = 0; i < kHalvings && good != 0 && bad != 0; ++i) {
      const double rate = std::sqrt(good * bad);
      auto keeps_up = step(rate);
      if (!keeps_up || is_interrupted()) return end(keeps_up);
      (*keeps_up ? good : bad) = rate;
    }
    if (good == 0) {
      return Error{"the bus keeps up with no load at all: at " + per_second(kLeastRate) + " " +
                   findings_.limit_reason};
    }
    return confirm(good);
  }

 private:
  bool is_interrupted() const { return findings_.measured.is_interrupted; }

  Result<Findings> end(const Result<bool>& last) const {
    if (!last) return last.error();
    return findings_;
  }

  /// A bus that is loaded for the first time, or a machine that had something else to do for a
  /// moment, deserves a second look.
  Result<bool> try_twice(double rate) {
    auto first = step(rate);
    if (!first || *first || is_interrupted()) return first;
    return step(rate);
  }

  Result<bool> step(double rate) {
    auto m = bench_.measure(rate, step_seconds_);
    if (!m) return m.error();
    return note(std::move(*m));
  }

  bool note(Measurement m) {
    const bool was_interrupted = m.is_interrupted;
    if (!was_interrupted) {
      Step step{m.rate, m.throughput(), overload(m),
                is_limited_by_publishers(m, setting_.publishers)};
      if (!step.overload.empty()) {
        findings_.limit_reason = "at " + per_second(step.rate) + " " + step.overload;
        findings_.is_limited_by_publishers = step.is_limited_by_publishers;
      }
      tell(per_second(step.rate) + ": " + (step.overload.empty() ? "kept up" : step.overload));
      findings_.steps.push_back(std::move(step));
    }
    findings_.measured = std::move(m);
    return !was_interrupted && findings_.steps.back().overload.empty();
  }

  Result<Findings> confirm(double rate) {
    for (int i = 0; i < kConfirmations; ++i, rate *= 0.9) {
      auto m = bench_.measure(rate, setting_.seconds);
      if (!m) return m.error();
      findings_.has_limit = note(std::move(*m));
      if (findings_.has_limit || is_interrupted()) return findings_;
    }
    return findings_;
  }

  Bench bench_;
  const BenchSetting& setting_;
  const double step_seconds_;
  Findings findings_;
};

}  // namespace

Result<Findings> measure_once(const BenchSetting& setting, double rate) {
  Result<Measurement> measured = Bench(setting).measure(rate, setting.seconds);
  if (!measured) return measured.error();
  return Findings{.measured = std::move(*measured)};
}

std::optional<bool> is_heard(const BenchSetting& setting, uint64_t deadline_mono_ns) {
  return Bench(setting).is_heard(deadline_mono_ns);
}

Result<Findings> find_limit(const BenchSetting& setting) { return Search(setting).run(); }

void tell(const std::string& sentence) {
  (void)std::fprintf(stderr, "bench: %s\n", printable(sentence).c_str());
}

std::string per_second(double rate) {
  return grouped(static_cast<uint64_t>(std::llround(rate))) + " records/s";
}

}  // namespace insight::cli
