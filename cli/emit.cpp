// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>
#include <poll.h>
#include <unistd.h>

#include "bus/base/clock.hpp"
#include "bus/base/result.hpp"
#include "bus/base/text.hpp"
#include "bus/http/http_client.hpp"
#include "bus/wire/limits.hpp"
#include "cli/ask.hpp"
#include "cli/commands.hpp"
#include "cli/exit_code.hpp"
#include "cli/publish.hpp"
#include "cli/stop_signals.hpp"
#include "publishers/native/settings.hpp"

namespace insight::cli {

namespace {

using namespace std::chrono_literals;
using nlohmann::json;

constexpr size_t kMaxLineBytes = 64 << 10;
// The buffer of a publisher for spans holds as much, one more line, and as much again.
constexpr size_t kMaxBytesWaiting = 64 << 10;
constexpr size_t kSpanBytes = 128;    // of a span without names and labels, at most
constexpr uint64_t kComplaints = 10;  // of a longer input the rest is only counted

struct EmitOptions {
  PublishOptions publish;
  AskOptions ask;
  std::string kind;
  std::string name;
  std::string value;
  std::vector<std::string> labels;
  std::string lane;
  std::chrono::nanoseconds hold{0};
  std::chrono::nanoseconds timeout = 5s;
};

/// One record as it was written.
struct Emission {
  std::string kind;
  std::string name;
  std::string value;
  Labels labels;
  std::string lane;
};

std::optional<double> parse_value(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

/// "1.5s", or a number of seconds.
std::optional<std::chrono::nanoseconds> parse_length(const std::string& text) {
  constexpr double kMost = 9e9;  // seconds that 64 bits of nanoseconds hold
  uint64_t ns = 0;
  if (parse_duration(text, ns)) return std::chrono::nanoseconds(ns);
  const std::optional<double> seconds = parse_value(text);
  if (!seconds || !(*seconds >= 0) || *seconds > kMost) return std::nullopt;
  return std::chrono::nanoseconds(static_cast<int64_t>(*seconds * 1e9));
}

/// "KIND NAME VALUE [key=value...]".
Result<Emission> parse_words(std::string_view line) {
  std::vector<std::string> words;
  while (!line.empty()) {
    const size_t end = std::min(line.find_first_of(" \t"), line.size());
    if (end > 0) words.emplace_back(line.substr(0, end));
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  if (words.size() < 3) return Error{"expected KIND NAME VALUE [key=value...]"};
  Emission out{words[0], words[1], words[2], {}, {}};
  for (size_t i = 3; i < words.size(); ++i) {
    auto label = parse_label(words[i]);
    if (!label) return Error{"\"" + words[i] + "\": expected key=value"};
    out.labels.push_back(std::move(*label));
  }
  return out;
}

std::string text_of(const json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

/// {"kind": "counter", "name": "jobs_total", "value": 1, "labels": {"route": "/v1"}}
Result<Emission> parse_json(std::string_view line) {
  const json object = json::parse(line, nullptr, false);
  if (!object.is_object()) return Error{"not a JSON object"};
  Emission out;
  for (const auto& [key, target] :
       {std::pair("kind", &out.kind), {"name", &out.name}, {"value", &out.value}}) {
    const auto found = object.find(key);
    if (found == object.end()) return Error{std::string("there is no \"") + key + "\""};
    *target = text_of(*found);
  }
  if (const auto lane = object.find("lane"); lane != object.end()) out.lane = text_of(*lane);
  if (const auto labels = object.find("labels"); labels != object.end()) {
    if (!labels->is_object()) return Error{"\"labels\" is not an object"};
    for (const auto& [key, value] : labels->items()) out.labels.emplace_back(key, text_of(value));
  }
  return out;
}

Result<Emission> parse_line(std::string_view line) {
  return line.starts_with('{') ? parse_json(line) : parse_words(line);
}

/// Records what is right; says why something is not.
class Emitter {
 public:
  explicit Emitter(const PublisherOptions& options) : publisher_(options) {}

  /// Why it was not recorded.
  std::optional<std::string> record(const Emission& emission) {
    if (emission.kind == "span") return record_span(emission);
    const std::optional<double> value = parse_value(emission.value);
    bool is_taken = false;
    if (emission.kind == "counter") {
      if (!value || !std::isfinite(*value) || *value < 0) {
        return wrong(emission, "a number of at least 0, because a counter only grows");
      }
      const Counter counter = publisher_.counter(emission.name, {}, emission.labels);
      counter.add(*value);
      is_taken = static_cast<bool>(counter);
    } else if (emission.kind == "gauge") {
      if (!value) return wrong(emission, "a number");
      const Gauge gauge = publisher_.gauge(emission.name, {}, emission.labels);
      gauge.set(*value);
      is_taken = static_cast<bool>(gauge);
    } else if (emission.kind == "histogram") {
      if (!value || !std::isfinite(*value)) return wrong(emission, "a finite number");
      const Histogram histogram = publisher_.histogram(emission.name, {}, {}, emission.labels);
      histogram.observe(*value);
      is_taken = static_cast<bool>(histogram);
    } else {
      return "\"" + emission.kind + "\": expected counter, gauge, histogram or span";
    }
    return is_taken ? std::nullopt : std::optional(refusal(emission));
  }

  Publisher& publisher() { return publisher_; }

  /// Spans that no broker has taken yet.
  uint64_t spans_waiting() const {
    const PublisherStatus status = publisher_.status();
    uint64_t gone = status.spans_sent;
    for (const auto& [reason, n] : status.drops) {
      if (reason == "span_buffer") gone += n;
    }
    return status.spans - std::min(status.spans, gone);
  }

 private:
  static std::string wrong(const Emission& emission, const std::string& expected) {
    return "\"" + emission.value + "\": expected " + expected;
  }

  std::optional<std::string> record_span(const Emission& emission) {
    const auto length = parse_length(emission.value);
    if (!length) return wrong(emission, "a duration like \"1.5s\", or seconds");
    if (!is_name(emission.name)) return no_name(emission);
    ActiveSpan span = publisher_.span(emission.name, {.lane = emission.lane, .ago = *length});
    for (const auto& [key, value] : emission.labels) span.attribute(key, std::string_view(value));
    span.end();
    return std::nullopt;
  }

  static bool is_name(const std::string& name) {
    return !name.empty() && name.size() <= wire::kMaxNameBytes && is_utf8(name);
  }

  static std::string no_name(const Emission& emission) {
    return "\"" + emission.name + "\" is no name: expected 1 to 255 bytes of UTF-8";
  }

  /// Why the library did not take it.
  static std::string refusal(const Emission& emission) {
    if (!is_name(emission.name)) return no_name(emission);
    return emission.name + " was of another kind before, or there are too many metrics";
  }

  Publisher publisher_;
};

class EmitCommand {
 public:
  explicit EmitCommand(const EmitOptions& options) : options_(options) {}

  int run() {
    if (!is_usable()) return kWrongUse;
    if (native::is_disabled([](const char* name) -> const char* { return std::getenv(name); })) {
      complain("emit: nothing is published, because INSIGHT_DISABLED or OTEL_SDK_DISABLED is set");
      return kDone;
    }
    const StopSignals signals;
    PublisherOptions publisher = publisher_options(options_.publish, "insightctl emit");
    publisher.flush_interval = 20ms;  // many lines of spans shall not wait for it
    Emitter emitter(publisher);
    int code = kDone;
    if (options_.kind == "-") {
      code = emit_lines(emitter, signals);
    } else if (const auto why = emitter.record(one())) {
      complain("emit: " + *why);
      code = kWrongUse;
    }
    if (code == kWrongUse) {
      emitter.publisher().close(0ms);
      return code;
    }
    if (code == kNoBroker) return nobody(emitter);
    if (options_.hold > 0ns && !hold(emitter, signals)) return nobody(emitter);
    emitter.publisher().close(
        std::chrono::duration_cast<std::chrono::milliseconds>(options_.timeout));
    const PublisherStatus status = emitter.publisher().status();
    if (!status.has_said_bye) return nobody(emitter);
    return tell_drops(status) || is_refused() ? kProblem : code;
  }

 private:
  bool is_usable() {
    if (!is_endpoint_right(options_.publish)) return false;
    if (options_.kind == "-") {
      if (options_.name.empty()) return true;
      complain("emit: with \"-\" everything is read from standard input");
      return false;
    }
    if (options_.value.empty()) {
      complain("emit: expected KIND NAME VALUE; see insightctl emit --help");
      return false;
    }
    for (const std::string& text : options_.labels) {
      const auto label = parse_label(text);
      if (!label) {
        complain("--label \"" + text + "\": expected key=value");
        return false;
      }
      labels_.push_back(*label);
    }
    if (!options_.lane.empty() && options_.kind != "span") {
      complain("--lane is for spans");
      return false;
    }
    return true;
  }

  Emission one() const {
    return {options_.kind, options_.name, options_.value, labels_, options_.lane};
  }

  /// What standard input says, line by line.
  int emit_lines(Emitter& emitter, const StopSignals& signals) {
    std::string text;
    std::array<char, 16 << 10> buffer{};
    bool is_at_end = false;
    while (!is_at_end && !signals.wait_for(0ms)) {
      pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
      if (poll(&input, 1, 100) <= 0) continue;
      const ssize_t n = read(STDIN_FILENO, buffer.data(), buffer.size());
      if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (n < 0) {
        complain(std::string("emit: standard input: ") + std::strerror(errno));
        return kProblem;
      }
      is_at_end = n == 0;
      text.append(buffer.data(), static_cast<size_t>(n));
      if (is_at_end && !text.empty() && !text.ends_with('\n')) text += '\n';
      size_t from = 0;
      for (size_t to = text.find('\n'); to != std::string::npos; to = text.find('\n', from)) {
        emit_line(emitter, std::string_view(text).substr(from, to - from));
        if (!make_room(emitter, to - from)) return kNoBroker;
        from = to + 1;
      }
      text.erase(0, from);
      if (text.size() > kMaxLineBytes) {
        complain("emit: line " + std::to_string(lines_ + 1) + " is longer than 64 KiB");
        return kProblem;
      }
    }
    if (wrong_ > 0) {
      complain("emit: " + std::to_string(wrong_) + " of " + std::to_string(lines_) +
               " lines were wrong and left out");
    }
    return wrong_ > 0 ? kProblem : kDone;
  }

  void emit_line(Emitter& emitter, std::string_view line) {
    ++lines_;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) return;
    const Result<Emission> emission = parse_line(line);
    const std::optional<std::string> why =
        emission ? emitter.record(*emission) : std::optional(emission.error().message);
    if (!why) return;
    if (++wrong_ <= kComplaints) complain("emit: line " + std::to_string(lines_) + ": " + *why);
  }

  /// After a line of so many bytes: waits now and then until the buffer of spans is empty.  False:
  /// nobody takes any.
  bool make_room(const Emitter& emitter, size_t bytes) {
    bytes_waiting_ += bytes + kSpanBytes;
    if (bytes_waiting_ <= kMaxBytesWaiting) return true;
    bytes_waiting_ = 0;
    const uint64_t deadline = mono_now_ns() + static_cast<uint64_t>(options_.timeout.count());
    while (emitter.spans_waiting() > 0) {
      if (mono_now_ns() > deadline) return false;
      std::this_thread::sleep_for(1ms);
    }
    return true;
  }

  /// Stays a publisher for a while.  False: there is no broker to begin with.
  bool hold(Emitter& emitter, const StopSignals& signals) const {
    const uint64_t deadline = mono_now_ns() + static_cast<uint64_t>(options_.timeout.count());
    while (emitter.publisher().status().envelopes_sent < 2) {
      if (mono_now_ns() > deadline) return false;
      if (signals.wait_for(10ms)) return true;
    }
    (void)signals.wait_for(std::chrono::duration_cast<std::chrono::milliseconds>(options_.hold));
    return true;
  }

  /// What the library could not keep, but for what was told line by line.
  static bool tell_drops(const PublisherStatus& status) {
    std::string drops;
    for (const auto& [reason, n] : status.drops) {
      if (reason == "conflict" || reason == "bad_name") continue;
      drops += (drops.empty() ? "" : ", ") + std::to_string(n) + " " + reason;
    }
    if (!drops.empty()) complain("emit: not all of it could be kept: " + drops);
    return !drops.empty();
  }

  /// Whether the bus takes the metric for another one.  It is asked where it is surely the one that
  /// was published to: --http or INSIGHT_HTTP says so, or nothing says anything.
  bool is_refused() const {
    const auto is_set = [](const char* name) { return std::getenv(name) != nullptr; };
    const bool may_be_another = !options_.publish.endpoint.empty() || is_set("INSIGHT_ENDPOINT");
    if (options_.kind == "span" || options_.kind == "-") return false;
    if (may_be_another && options_.ask.http.empty() && !is_set("INSIGHT_HTTP")) return false;
    int exit_code = kDone;
    const std::optional<std::string> address = broker_address(options_.ask, exit_code);
    if (!address) return false;
    const std::string url =
        "http://" + *address + "/api/v1/series?explain=" + percent_encoded(options_.name);
    // It comes to the sink a moment after it was sent.
    // A metric that the sink leaves out never comes, so there is no waiting for as long as to send.
    const std::chrono::nanoseconds patience = options_.timeout / 5;
    const auto timeout = std::chrono::ceil<std::chrono::milliseconds>(patience);
    const uint64_t deadline = mono_now_ns() + static_cast<uint64_t>(patience.count());
    while (mono_now_ns() < deadline) {
      const Result<HttpReply> reply = http_get(url, timeout);
      const json answer =
          reply && reply->status == 200 ? json::parse(reply->body, nullptr, false) : json();
      if (!answer.is_object() || !answer.value("source", json()).is_string()) return false;
      if (const std::string other = refused_because_of(answer); !other.empty()) {
        complain("emit: the bus refuses " + options_.name + ": it was declared otherwise by " +
                 other);
        return true;
      }
      const json metric = answer.value("metric", json());
      if (metric.is_object() && metric.value("kind", "") == options_.kind) return false;
      std::this_thread::sleep_for(20ms);
    }
    return false;
  }

  /// Who came first, when our own point was refused.
  static std::string refused_because_of(const json& answer) {
    std::array<char, 256> host{};
    (void)gethostname(host.data(), host.size() - 1);
    const std::string own =
        "insightctl emit/" + to_utf8(host.data()) + "/" + std::to_string(getpid()) + " (";
    for (const json& refusal : answer.value("refusals", json::array())) {
      if (refusal.value("second", "").starts_with(own)) {
        return refusal.value("first", "another publisher");
      }
    }
    return {};
  }

  static int nobody(Emitter& emitter) {
    emitter.publisher().close(0ms);
    const std::string endpoint = emitter.publisher().status().endpoint;
    complain("emit: no broker takes it at " + (endpoint.empty() ? "any endpoint" : endpoint) +
             "; start one with \"insightctl bus run\" or name another with --endpoint");
    return kNoBroker;
  }

  const EmitOptions& options_;
  Labels labels_;
  uint64_t lines_ = 0;
  uint64_t wrong_ = 0;
  size_t bytes_waiting_ = 0;  // at most, in the buffer of spans
};

}  // namespace

Command emit_command() {
  const auto options = std::make_shared<EmitOptions>();
  return {
      .name = "emit",
      .does =
          "Publishes one record, for scripts. Counters of many calls add up; a gauge is shown "
          "for 60 s after its call, or as long as --hold says; the value of a span is how "
          "long it took, until now. Ends when the record was sent, with 3 when there is no "
          "broker",
      .examples = {"insightctl emit counter backups_total 1 -l host=db1",
                   "insightctl emit gauge queue_depth 7 --hold 2s",
                   "insightctl emit histogram backup_seconds 12.5",
                   "insightctl emit span backup 12.5s --lane cron -l host=db1",
                   "printf 'counter lines_total 3\\ngauge depth 2 queue=a\\n' | insightctl emit -"},
      .arguments = publish_arguments(
          options->publish,
          {{.name = "kind",
            .value = "KIND",
            .does = "counter, gauge, histogram or span; or - to read lines \"KIND NAME VALUE "
                    "[key=value...]\" or JSON objects with kind, name, value, labels, lane",
            .target = &options->kind,
            .is_required = true,
            .choices = {"counter", "gauge", "histogram", "span", "-"}},
           {.name = "name",
            .value = "NAME",
            .does = "of the metric or span",
            .target = &options->name},
           {.name = "value",
            .value = "VALUE",
            .does = "what is added, set or observed; of a span its duration",
            .target = &options->value},
           {.name = "-l,--label",
            .value = "KEY=VALUE",
            .does = "a label, of a span an attribute; as often as needed",
            .target = &options->labels},
           {.name = "--lane", .value = "LANE", .does = "of a span", .target = &options->lane},
           {.name = "--hold",
            .value = "DURATION",
            .does = "stay a publisher for so long, so that a gauge lives on (0s)",
            .target = &options->hold},
           {.name = "--http",
            .value = "HOST:PORT",
            .does = "where the broker tells whether it took the metric (else INSIGHT_HTTP; else "
                    "127.0.0.1:9092, when no endpoint is given)",
            .target = &options->ask.http},
           {.name = "--timeout",
            .value = "DURATION",
            .does = "for a broker that is slow to take it (5s)",
            .target = &options->timeout}}),
      .run = [options](Terminal&) { return EmitCommand(*options).run(); }};
}

}  // namespace insight::cli
