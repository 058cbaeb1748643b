// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstdio>
#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "bus/base/clock.hpp"
#include "bus/base/text.hpp"
#include "cli/ask.hpp"
#include "cli/commands.hpp"

namespace insight::cli {

namespace {

using nlohmann::json;

/// "3 malformed, 1 version".
std::string reasons(const json& counts) {
  std::string out;
  for (const auto& [reason, n] : counts.items()) {
    if (!n.is_number_unsigned() || n == 0) continue;
    out += (out.empty() ? "" : ", ") + grouped(n.get<uint64_t>()) + " " + printable(reason);
  }
  return out;
}

std::string duration(double seconds) {
  const auto ns = static_cast<uint64_t>(seconds * 1e9);
  // Three digits are enough for people.
  uint64_t unit = 1;
  while (ns / unit >= 1'000) unit *= 10;
  return format_duration(ns / unit * unit);
}

/// "4.7MiB": two digits are enough for people.
std::string short_size(uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  std::array<char, 32> text{};
  (void)std::snprintf(text.data(), text.size(), "%.*f%s", unit > 0 && value < 10 ? 1 : 0, value,
                      kUnits[unit]);
  return text.data();
}

/// "< 2.5ms": 99 of 100 were faster.
std::string p99(const json& durations) {
  if (count(durations, "count") == 0) return "-";
  const json& bound = member(durations, "p99_seconds");
  return bound.is_number() ? "< " + duration(bound.get<double>()) : "> 100s";
}

std::string joined(const json& strings) {
  std::string out;
  for (const json& each : strings) {
    out += (out.empty() ? "" : " ") + printable(each.get<std::string>());
  }
  return out;
}

void show_head(const json& status, Terminal& out) {
  const bool is_healthy = text(status, "health") == "healthy";
  const auto up = static_cast<uint64_t>(member(status, "uptime_seconds").get<double>());
  const std::string state = text(status, "state_directory");
  out.line(out.paint(Colour::bold, text(status, "name")) + "  " +
           out.paint(is_healthy ? Colour::green : Colour::red, text(status, "health")) + "  up " +
           format_duration(up * kSecond) + "  Insight Bus " + text(status, "version") + "  state " +
           (state.empty() ? "in memory only" : state));
  for (const json& problem : member(status, "problems")) {
    out.line(out.paint(Colour::red, "problem: " + printable(problem.get<std::string>())));
  }
  out.line("");
}

void show_collectors(const json& collectors, Terminal& out) {
  Table table{{{"COLLECTOR"},
               {"STATE"},
               {"RECORDS", true},
               {"REFUSED", true},
               {"DROPPED", true},
               {"GAPS", true},
               {"LATENCY p99"},
               {"ENDPOINTS"}},
              {}};
  for (const json& collector : collectors) {
    const bool is_open = member(collector, "open") == true;
    const json& latency = member(collector, "transport_latency");
    const json& mono = member(latency, "mono");
    table.rows.push_back(
        {text(collector, "name"),
         out.paint(is_open ? Colour::green : Colour::red, is_open ? "open" : "closed"),
         grouped(total(member(collector, "records"))), grouped(total(member(collector, "refused"))),
         grouped(total(member(collector, "dropped"))), grouped(count(collector, "sequence_gaps")),
         p99(count(mono, "count") > 0 ? mono : member(latency, "none")),
         joined(member(collector, "endpoints"))});
  }
  table.print(out);
  for (const json& collector : collectors) {
    const std::string refused = reasons(member(collector, "refused"));
    const std::string dropped = reasons(member(collector, "dropped"));
    const std::string before = reasons(member(collector, "dropped_at_publishers"));
    const std::string name = text(collector, "name");
    if (!refused.empty()) out.line("  " + name + " refused envelopes: " + refused);
    if (!dropped.empty()) out.line("  " + name + " dropped records: " + dropped);
    if (!before.empty()) out.line("  " + name + "'s publishers dropped: " + before);
    if (count(collector, "spans_lost") > 0) {
      out.line("  " + name +
               " spans lost in transport: " + grouped(count(collector, "spans_lost")));
    }
  }
  out.line("");
}

void show_sinks(const json& sinks, Terminal& out) {
  Table table{{{"SINK"},
               {"STATE"},
               {"DELIVERED", true},
               {"DROPPED", true},
               {"QUEUE", true},
               {"OF"},
               {"RETRIES", true},
               {"DELAY p99"},
               {"TYPE"}},
              {}};
  for (const json& sink : sinks) {
    const bool is_up = member(sink, "up") == true;
    const json& delay = member(sink, "delivery_latency");
    const json& metrics = member(delay, "metrics");
    table.rows.push_back(
        {text(sink, "name"), out.paint(is_up ? Colour::green : Colour::red, is_up ? "up" : "down"),
         grouped(total(member(sink, "delivered"))), grouped(total(member(sink, "dropped"))),
         short_size(total(member(sink, "queue_bytes"))),
         format_size(count(sink, "queue_limit_bytes")), grouped(count(sink, "retries")),
         p99(count(metrics, "count") > 0 ? metrics : member(delay, "spans")), text(sink, "type")});
  }
  table.print(out);
  for (const json& sink : sinks) {
    if (const uint64_t filtered = total(member(sink, "filtered")); filtered > 0) {
      out.line("  " + text(sink, "name") + " leaves out by its table: " + grouped(filtered));
    }
    for (const auto& [signal, counts] : member(sink, "dropped").items()) {
      const std::string dropped = reasons(counts);
      if (!dropped.empty()) {
        out.line("  " + text(sink, "name") + " dropped " + printable(signal) + ": " + dropped);
      }
    }
    if (member(sink, "up") != true && !text(sink, "last_error").empty()) {
      out.line("  " + text(sink, "name") + ": " + out.paint(Colour::red, text(sink, "last_error")));
    }
  }
  out.line("");
}

void show_publishers(const json& states, Terminal& out) {
  std::string line = "publishers  ";
  bool is_first = true;
  for (const char* state : {"alive", "late", "lost", "ended"}) {
    const uint64_t n = count(states, state);
    const bool is_bad =
        n > 0 && (std::string_view(state) == "late" || std::string_view(state) == "lost");
    line += is_first ? "" : ", ";
    line += out.paint(is_bad ? Colour::yellow : Colour::none, grouped(n) + " " + state);
    is_first = false;
  }
  out.line(line);
}

void show_series(const json& series, Terminal& out) {
  const json& limits = member(series, "limits");
  out.line("series      " + grouped(count(series, "series")) + " of " +
           grouped(count(limits, "series")) + " (" + grouped(count(limits, "series_per_metric")) +
           " a metric, " + grouped(count(limits, "series_per_publisher")) + " a publisher)");
  std::string largest;
  size_t shown = 0;
  for (const json& metric : member(series, "largest_metrics")) {
    if (++shown > 3) break;
    largest += (largest.empty() ? "" : ", ") + text(metric, "metric") + " " +
               grouped(count(metric, "series"));
  }
  if (!largest.empty()) out.line("largest     " + largest);
  for (const json& offender : member(series, "offenders")) {
    const uint64_t points = count(offender, "points_dropped");
    out.line(out.paint(Colour::yellow,
                       "over limit  " + text(offender, "metric") + " of publisher " +
                           text(offender, "publisher") + ": " + text(offender, "limit") +
                           (points > 0 ? ", " + grouped(points) + " points dropped" : "")));
  }
  for (const json& refusal : member(series, "refusals")) {
    out.line(out.paint(Colour::yellow, "refused     " + text(refusal, "metric") + ": " +
                                           text(refusal, "reason") + ", " +
                                           grouped(count(refusal, "points_dropped")) +
                                           " points of " + text(refusal, "second")));
    out.line("            declared before by " + text(refusal, "first"));
  }
}

int status(const AskOptions& options, Terminal& out) {
  int exit_code = kDone;
  const std::optional<Answer> answer = ask(options, "/api/v1/status", exit_code);
  if (!answer) return exit_code;
  const json& status = answer->json;
  if (options.json) {
    out.raw(answer->body);
  } else {
    show_head(status, out);
    show_collectors(member(status, "collectors"), out);
    show_sinks(member(status, "sinks"), out);
    show_publishers(member(status, "publishers"), out);
    show_series(member(status, "series"), out);
  }
  return text(status, "health") == "healthy" ? kDone : kProblem;
}

}  // namespace

Command status_command() {
  const auto options = std::make_shared<AskOptions>();
  return {.name = "status",
          .does =
              "One screen: collectors, sinks, publishers, limits. 0 healthy, 1 degraded, "
              "3 no broker",
          .examples = {"insightctl status"},
          .arguments = ask_arguments(*options),
          .run = [options](Terminal& out) { return status(*options, out); }};
}

}  // namespace insight::cli
