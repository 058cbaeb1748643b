// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>

#include <unistd.h>

#include "bus/base/clock.hpp"
#include "bus/base/text.hpp"
#include "cli/ask.hpp"
#include "cli/bench_bus.hpp"
#include "cli/bench_search.hpp"
#include "cli/commands.hpp"
#include "cli/stop_signals.hpp"

namespace insight::cli {

namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr uint64_t kConnectTimeout = 5 * kSecond;
constexpr std::string_view kStopped = "stopped before the end: there is no result";
constexpr uint64_t kHighestRate = 1'000'000'000;

struct BenchOptions {
  AskOptions ask;
  uint64_t publishers = 4;
  uint64_t rate = 0;  // 0: look for the limit
  double seconds = 10;
  std::string mix = "counter=6,gauge=2,histogram=1,span=1";
  std::string endpoint;
  bool own = false;
  bool anyway = false;
};

/// "2.5ms".
std::string duration_text(double seconds) {
  if (std::isinf(seconds)) return "more";
  const auto [factor, unit] = seconds >= 1       ? std::pair(1.0, "s")
                              : seconds >= 0.001 ? std::pair(1e3, "ms")
                                                 : std::pair(1e6, "us");
  std::array<char, 32> text{};
  (void)std::snprintf(text.data(), text.size(), "%.6g%s", seconds * factor, unit);
  return text.data();
}

std::string quantile_text(const std::map<double, uint64_t>& counts, double share) {
  const Quantile q = quantile(counts, share);
  return std::isnan(q.to) ? "-" : duration_text(q.from) + ".." + duration_text(q.to);
}

std::string nanoseconds(double value) {
  return grouped(static_cast<uint64_t>(std::llround(value))) + " ns";
}

void show(const Findings& findings, const BenchOptions& options, const std::string& where,
          Terminal& out) {
  const Measurement& m = findings.measured;
  const ordered_json figures = to_json(m);
  out.line("bus       " + where);
  out.line("load      " + std::to_string(options.publishers) + " publishers, " + options.mix +
           ", " + duration_text(m.seconds) + ", the library's encoder and socket");
  if (options.rate == 0) {
    out.line(
        out.paint(Colour::bold, "limit     " + (findings.has_limit ? per_second(m.throughput())
                                                                   : std::string("not found"))) +
        (findings.limit_reason.empty() ? "" : ", because " + findings.limit_reason));
    if (findings.is_limited_by_publishers) {
      out.line(
          "          the publishers were too slow, not the bus: give more --publishers or CPUs");
    }
  }
  out.line("reached   " + per_second(m.throughput()) + " of " + per_second(m.rate));
  const ordered_json& cpu = figures["cpu_ns_per_record"];
  out.line("cpu       a record: " + nanoseconds(cpu["broker"]) + " in the broker, " +
           nanoseconds(cpu["publishers"]) + " in the publishers");
  out.line("");
  Table latency{{{"LATENCY TO SINK"}, {"p50", true}, {"p99", true}, {"p99.9", true}}, {}};
  // A place a line: so that it fits a window of 80 columns, however many places there are.
  Table places{{{"RECORDS"}},
               {{"recorded"},
                {"delivered"},
                {"lost: publisher"},
                {"lost: transport"},
                {"lost: ingress"},
                {"lost: queue"},
                {"lost: sink"},
                {"not for this sink"},
                {"in flight"}}};
  const auto balances = m.balances();
  for (const Measurement::SinkBalance& b : balances) {
    latency.rows.push_back({b.name, quantile_text(b.latencies, 0.5),
                            quantile_text(b.latencies, 0.99), quantile_text(b.latencies, 0.999)});
    places.head.push_back({b.name, true});
    const std::array<uint64_t, 9> counts{m.recorded(),
                                         b.delivered,
                                         m.load.dropped,
                                         m.lost_in_transport(),
                                         m.dropped_at_ingress(),
                                         b.queue,
                                         b.sink,
                                         b.not_asked_for,
                                         b.in_flight};
    for (size_t i = 0; i < counts.size(); ++i) places.rows[i].push_back(grouped(counts[i]));
  }
  latency.print(out);
  out.line(
      "from when the oldest record of an envelope was due until the sink took it; an envelope "
      "counts once; known as finely as the broker's buckets");
  out.line("");
  places.print(out);
  if (m.others() > 0) {
    out.line(grouped(m.others()) + " of these records came from other publishers");
  }
  for (const Measurement::SinkBalance& b : balances) {
    out.line(b.unexplained == 0
                 ? b.name + ": recorded = delivered + lost + in flight"
                 : out.paint(Colour::red, b.name + ": does not add up, unexplained records: " +
                                              std::to_string(b.unexplained)));
  }
}

ordered_json to_json(const Findings& findings, const BenchOptions& options) {
  ordered_json steps = ordered_json::array();
  for (const Step& step : findings.steps) {
    ordered_json why = nullptr;
    if (!step.overload.empty()) why = step.overload;
    steps.push_back({{"rate", step.rate}, {"throughput", step.throughput}, {"overload", why}});
  }
  ordered_json limit = nullptr, limited_by = nullptr;
  if (findings.has_limit) limit = findings.measured.throughput();
  if (!findings.limit_reason.empty()) {
    limited_by = findings.is_limited_by_publishers ? "publishers" : "bus";
  }
  return {{"publishers", options.publishers},
          {"mix", options.mix},
          {"own", options.own},
          {"limit", std::move(limit)},
          {"limited_by", std::move(limited_by)},
          {"steps", std::move(steps)},
          {"measured", to_json(findings.measured)}};
}

/// Where the records go; of the endpoints of the bus the one that this host reaches best.
std::optional<Endpoint> endpoint_of(const BenchOptions& options, const json& status) {
  std::vector<std::string> endpoints;
  if (!options.endpoint.empty()) {
    endpoints.push_back(options.endpoint);
  } else {
    for (const json& collector : status.value("collectors", json::array())) {
      for (const json& each : collector.value("endpoints", json::array()))
        endpoints.push_back(each);
    }
  }
  std::optional<Endpoint> best;
  for (const std::string& text : endpoints) {
    Result<Endpoint> endpoint = parse_endpoint(text);
    if (!endpoint) {
      complain("--endpoint: " + endpoint.error().message);
      return std::nullopt;
    }
    const bool is_here =
        endpoint->kind == Endpoint::Kind::ipc && access(endpoint->path.c_str(), W_OK) == 0;
    const bool is_tcp = endpoint->kind == Endpoint::Kind::tcp;
    if (is_here || (is_tcp && !best) || !options.endpoint.empty()) best = std::move(*endpoint);
  }
  if (best && best->host == "*") best->host = "127.0.0.1";
  if (!best) complain("the bus listens on nothing that can be reached from here; give --endpoint");
  return best;
}

/// True when the bus has been used by somebody else than bench.
bool is_in_use(const json& publishers) {
  for (const json& each : publishers.value("publishers", json::array())) {
    if (each.value("resource", json::object()).value("service.name", "") != "insight-bench")
      return true;
  }
  return false;
}

bool is_right(const BenchOptions& options) {
  if (options.publishers < 1 || options.publishers > Load::kMaxPublishers) {
    complain("--publishers: expected 1 to " + std::to_string(Load::kMaxPublishers));
  } else if (!(options.seconds >= 0.1 && options.seconds <= 3'600)) {
    complain("--seconds: expected 0.1 to 3600");
  } else if (options.rate > kHighestRate) {
    complain("--rate: expected at most 1000000000 records a second");
  } else if (options.own && (!options.endpoint.empty() || !options.ask.http.empty())) {
    complain("--own starts a bus, so it goes with neither --endpoint nor --http");
  } else {
    return true;
  }
  return false;
}

int load_bus(const BenchOptions& options, const std::string& http, const std::string& where,
             const StopSignals& signals, Terminal& out) {
  const Result<BenchMix> mix = parse_mix(options.mix);
  int exit_code = kDone;
  AskOptions at = options.ask;
  at.http = http;
  const auto status = ask(at, "/api/v1/status", exit_code);
  if (!status) return exit_code;
  const std::optional<Endpoint> endpoint = endpoint_of(options, status->json);
  if (!endpoint) return kWrongUse;
  Load load(*endpoint, options.publishers, *mix);
  bool is_stopped = false;
  const auto take_signal = [&] {
    return is_stopped = is_stopped || signals.wait_for(std::chrono::milliseconds(0));
  };
  if (!load.connect(mono_now_ns() + kConnectTimeout, take_signal)) {
    if (is_stopped) {
      complain(std::string(kStopped));
      return kDone;
    }
    complain("nothing takes records at " + endpoint->text() + "; name another with --endpoint");
    return kNoBroker;
  }
  const BenchSetting setting{http, load, options.publishers, options.seconds, signals};
  const std::optional<bool> heard = is_heard(setting, mono_now_ns() + kConnectTimeout);
  if (heard == false) {
    complain("what takes records at " + endpoint->text() + " is not the bus that answers at " +
             http);
    return kWrongUse;
  }
  if (!heard) {
    complain(std::string(kStopped));
    return kDone;
  }
  const Result<Findings> findings = options.rate == 0
                                        ? find_limit(setting)
                                        : measure_once(setting, static_cast<double>(options.rate));
  load.finish(take_signal);
  if (is_stopped && findings && findings->measured.is_interrupted) return kInterrupted;
  if (!findings) {
    complain(findings.error().message);
    return kNoBroker;
  }
  if (findings->measured.is_interrupted) {
    complain(std::string(kStopped));
    return kDone;
  }
  if (options.ask.json) {
    out.raw(to_json(*findings, options).dump(2) + "\n");
  } else {
    show(*findings, options, where + ", " + endpoint->text(), out);
  }
  const bool is_good = options.rate == 0 ? findings->has_limit : losses(findings->measured).empty();
  return is_good && findings->measured.adds_up() ? kDone : kProblem;
}

int bench_own(const BenchOptions& options, Terminal& out) {
  const StopSignals signals;
  OwnBus bus;
  const Result<bool> started = bus.start(signals);
  if (!started) {
    complain(started.error().message);
    return kProblem;
  }
  if (!*started) {
    complain(std::string(kStopped));
    return kDone;
  }
  const int code = load_bus(options, bus.http(), "one of its own with the sink null", signals, out);
  return bus.stop(signals) ? code : static_cast<int>(kInterrupted);
}

int bench_running(const BenchOptions& options, Terminal& out) {
  int exit_code = kDone;
  const std::optional<std::string> http = broker_address(options.ask, exit_code);
  if (!http) return exit_code;
  const auto publishers = ask(options.ask, "/api/v1/publishers?limit=1000", exit_code);
  if (!publishers) return exit_code;
  if (options.rate == 0 && !options.anyway && is_in_use(publishers->json)) {
    complain("others use the bus at " + *http +
             ", and looking for its limit would cost them records and room in files: give --own "
             "(a bus for bench alone), --rate (at most that load), or --anyway");
    return kWrongUse;
  }
  tell(
      "loads the bus at " + *http + ": up to " + grouped(Load::kSeries) +
      " series insight_bench_* with run=\"insight-bench\", and spans insight_bench; they go to all "
      "of its sinks and stay there as those of any publisher that has ended");
  const StopSignals signals;
  return load_bus(options, *http, *http, signals, out);
}

int bench(const BenchOptions& options, Terminal& out) {
  if (!is_right(options)) return kWrongUse;
  if (const auto mix = parse_mix(options.mix); !mix) {
    complain("--mix: " + mix.error().message);
    return kWrongUse;
  }
  return options.own ? bench_own(options, out) : bench_running(options, out);
}

}  // namespace

Command bench_command() {
  const auto options = std::make_shared<BenchOptions>();
  return {
      .name = "bench",
      .does =
          "Loads a bus and reports throughput, latency, CPU and losses by place. Without --rate "
          "it looks for the highest rate that the bus keeps up with: nothing lost, and 99 of 100 "
          "envelopes at the sinks within 500ms",
      .examples = {"insightctl bench --own",
                   "insightctl bench --rate 50000 --seconds 5 --mix counter=3,span=1",
                   "insightctl bench --own --rate 100000 --seconds 5 --json"},
      .arguments = ask_arguments(
          options->ask,
          {{.name = "--own",
            .does = "load a bus that is started for it, with a null sink, and removed afterwards",
            .target = &options->own},
           {.name = "--publishers",
            .value = "N",
            .does = "so many publishers, a thread each (4)",
            .target = &options->publishers},
           {.name = "--rate",
            .value = "R",
            .does = "records a second in all (else the limit is looked for)",
            .target = &options->rate},
           {.name = "--seconds",
            .value = "S",
            .does = "measure for so long (10); a step of the search takes a tenth",
            .target = &options->seconds},
           {.name = "--mix",
            .value = "SHARES",
            .does = "what records there are (counter=6,gauge=2,histogram=1,span=1)",
            .target = &options->mix},
           {.name = "--endpoint",
            .value = "ENDPOINT",
            .does = "where the records go (else where the bus says that it listens)",
            .target = &options->endpoint},
           {.name = "--anyway",
            .does = "look for the limit of a bus that others use",
            .target = &options->anyway}}),
      .run = [options](Terminal& out) { return bench(*options, out); }};
}

}  // namespace insight::cli
