// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "bus/base/text.hpp"
#include "bus/base/unique_fd.hpp"
#include "bus/http/http_client.hpp"
#include "cli/ask.hpp"
#include "cli/commands.hpp"
#include "cli/tap_format.hpp"

namespace insight::cli {

namespace {

using namespace std::chrono_literals;
using nlohmann::json;

constexpr auto kSilence = 10s;  // the broker says something each second
constexpr auto kHintWithin = 2s;
constexpr auto kRetryEvery = 500ms;
constexpr size_t kPipeBytes = 4'096;  // never blocks a pipe that can be written
constexpr size_t kMaxLineBytes = 16 << 20;
constexpr std::string_view kTapLine = R"({"type":"tap")";

struct TapOptions {
  AskOptions ask;
  std::string signal;
  std::string name;
  std::string publisher;
  std::vector<std::string> labels;
  uint64_t count = 0;
  std::string format;
  bool has_refreshes = false;
};

/// Standard output for a command that goes on until a signal comes or nobody reads any more.
class LiveOutput {
 public:
  LiveOutput() : end_(epoll_create1(EPOLL_CLOEXEC)) {
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGINT, SIGTERM}) sigaddset(&set, number);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    signals_.reset(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    epoll_event event{};
    event.events = EPOLLIN;
    epoll_ctl(end_.get(), EPOLL_CTL_ADD, signals_.get(), &event);
    // Only that the reader has gone; a file cannot be watched, and needs not.
    event.events = 0;
    epoll_ctl(end_.get(), EPOLL_CTL_ADD, STDOUT_FILENO, &event);
  }

  /// Readable when it is time to end.
  int end_fd() const noexcept { return end_.get(); }

  bool is_over() {
    pollfd item{.fd = end_.get(), .events = POLLIN, .revents = 0};
    return error_ != 0 || poll(&item, 1, 0) > 0;
  }

  /// True: it is time to end.
  bool wait(std::chrono::milliseconds timeout) {
    pollfd item{.fd = end_.get(), .events = POLLIN, .revents = 0};
    return poll(&item, 1, static_cast<int>(timeout.count())) > 0;
  }

  /// Writes whole lines.  What is left of `text` is what was not written, because it is time to
  /// end.
  void write(std::string_view& text) {
    while (!text.empty()) {
      // A reader that stopped reading must not keep a signal from ending us.
      std::array<pollfd, 2> items{{{.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0},
                                   {.fd = signals_.get(), .events = POLLIN, .revents = 0}}};
      if (poll(items.data(), items.size(), -1) < 0) continue;
      if (items[1].revents != 0) return;
      const size_t line_end = text.substr(0, kPipeBytes).rfind('\n');
      const size_t size = line_end == std::string_view::npos ? kPipeBytes : line_end + 1;
      const ssize_t n = ::write(STDOUT_FILENO, text.data(), std::min(text.size(), size));
      if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (n < 0) {
        error_ = errno;
        return;
      }
      text.remove_prefix(static_cast<size_t>(n));
    }
  }

  /// Why it could not be written; 0 when it could, or nobody reads any more.
  int error() const noexcept { return error_ == EPIPE ? 0 : error_; }

 private:
  UniqueFd end_;
  UniqueFd signals_;
  int error_ = 0;
};

/// What the broker said it left out, over all connections.
struct Figures {
  uint64_t records = 0;
  uint64_t left_out = 0;
};

uint64_t number(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}

void note(const std::string& sentence) { complain("tap: " + sentence); }

class TapCommand {
 public:
  TapCommand(const TapOptions& options, const Terminal& terminal)
      : options_(options), terminal_(terminal) {}

  int run() {
    if (!choose_format()) return kWrongUse;
    int exit_code = kDone;
    const std::optional<std::string> address = broker_address(options_.ask, exit_code);
    if (!address) return exit_code;
    address_ = *address;
    hint();
    std::optional<int> code;
    while (!code) code = connect();
    add_figures();
    if (before_.left_out > 0) {
      note(grouped(shown_) + " shown; of " + grouped(before_.records) + " records that came by, " +
           grouped(before_.left_out) + " were left out (sampled)");
    }
    return *code;
  }

 private:
  bool choose_format() {
    std::string format = options_.format;
    if (format.empty()) {
      format = options_.ask.json || isatty(STDOUT_FILENO) == 0 ? "json" : "line";
    }
    is_json_ = format == "json";
    if (is_json_ || format == "line") return true;
    if (format.find('%') == std::string::npos) {
      complain("--format \"" + format + "\": expected json, line or a template like '%t %n=%v'");
      return false;
    }
    Result<TapTemplate> parsed = TapTemplate::parse(format);
    if (parsed) {
      template_ = std::move(*parsed);
      lines_of_record_ +=
          static_cast<uint64_t>(std::ranges::count(template_->format(json::object()), '\n'));
    } else {
      complain("--format: " + parsed.error().message);
    }
    return template_.has_value();
  }

  std::string url() const {
    std::string out =
        "http://" + address_ + "/api/v1/tap?all=" + (options_.has_refreshes ? "1" : "0");
    const auto add = [&out](const char* key, std::string_view value) {
      if (!value.empty()) out += std::string("&") + key + "=" + percent_encoded(value);
    };
    add("signal", options_.signal);
    add("name", options_.name);
    add("publisher", options_.publisher);
    for (const std::string& label : options_.labels) add("label", label);
    if (options_.count > 0) add("n", std::to_string(options_.count - shown_));
    return out;
  }

  /// Somebody who mistyped a name would wait for ever.
  void hint() const {
    const std::string& name = options_.name;
    if (name.empty() || name.find_first_of("*?") != std::string::npos) return;
    const Result<HttpReply> reply = http_get(
        "http://" + address_ + "/api/v1/series?explain=" + percent_encoded(name), kHintWithin);
    if (!reply || reply->status != 200) return;
    const json answer = json::parse(reply->body, nullptr, false);
    if (!answer.is_object() || !answer.value("metric", json()).is_null()) return;
    std::string near;
    for (const json& each : answer.value("nearest", json::array())) {
      if (each.is_string()) near += (near.empty() ? "" : ", ") + each.get<std::string>();
    }
    if (!near.empty())
      note("nobody sends a metric " + name + " so far; did you mean " + near + "?");
  }

  bool has_all() const { return options_.count > 0 && shown_ >= options_.count; }

  /// One connection, from its start to its end; the exit code when it was the last one.
  std::optional<int> connect() {
    part_.clear();
    const Result<StreamEnd> end = http_get_stream(
        url(), kSilence, out_.end_fd(), [this](std::string_view piece) { return take(piece); });
    add_figures();
    if (out_.error() != 0) {
      complain(std::string("standard output: ") + std::strerror(out_.error()));
      return kProblem;
    }
    if (out_.is_over() || has_all()) return kDone;
    if (end && end->status != 200 && !was_connected_) return refused(*end);
    if (!end && !was_connected_) {
      complain("no broker answers at " + address_ + ": " + end.error().message +
               "; start one with \"insightctl bus run\" or name another with --http");
      return kNoBroker;
    }
    if (!is_waiting_) note("the broker at " + address_ + " is gone; waiting until it is back");
    is_waiting_ = true;
    if (out_.wait(kRetryEvery)) return kDone;
    return std::nullopt;
  }

  int refused(const StreamEnd& end) const {
    std::string why = end.body.substr(0, end.body.find('\n'));
    if (end.status == 400 || end.status == 503) {
      complain("the broker refuses: " + why);
      return end.status == 400 ? kWrongUse : kProblem;
    }
    complain("what answers at " + address_ + " has no live records (HTTP status " +
             std::to_string(end.status) + "); name another address with --http");
    return kNoBroker;
  }

  /// False: it is time to end.
  bool take(std::string_view piece) {
    was_connected_ = true;
    if (is_waiting_) note("the broker at " + address_ + " is back");
    is_waiting_ = false;
    std::string out;
    part_ += piece;
    size_t from = 0;
    for (size_t to = part_.find('\n'); to != std::string::npos; to = part_.find('\n', from)) {
      take_line(std::string_view(part_).substr(from, to - from), out);
      from = to + 1;
    }
    part_.erase(0, from);
    if (part_.size() > kMaxLineBytes) throw std::runtime_error("a line of more than 16 MiB");
    std::string_view rest = out;
    out_.write(rest);
    const auto lines_left = static_cast<uint64_t>(std::ranges::count(rest, '\n'));
    shown_ -= (lines_left + lines_of_record_ - 1) / lines_of_record_;
    return rest.empty();
  }

  void take_line(std::string_view line, std::string& out) {
    if (line.starts_with(kTapLine)) {
      const json figures = json::parse(line, nullptr, false);
      if (figures.is_object()) report({number(figures, "records"), number(figures, "left_out")});
      return;
    }
    if (has_all()) return;
    if (is_json_) {
      out += terminal_.width() > 0 ? printable(line) : std::string(line);
      out += '\n';
    } else {
      const json record = json::parse(line, nullptr, false);
      if (!record.is_object()) return;
      if (template_) {
        out += template_->format(record) + "\n";
      } else {
        Terminal one = terminal_;
        one.row(readable_line(record));
        out += one.text();
      }
    }
    ++shown_;
  }

  void report(Figures figures) {
    const bool is_first = before_.left_out + now_.left_out == 0 && figures.left_out > 0;
    now_ = figures;
    if (is_first) {
      note("more comes than is shown: from here on this is a sample (" + grouped(figures.left_out) +
           " of " + grouped(figures.records) + " records left out so far)");
    }
  }

  void add_figures() {
    before_.records += now_.records;
    before_.left_out += now_.left_out;
    now_ = {};
  }

  const TapOptions& options_;
  const Terminal terminal_;
  LiveOutput out_;
  std::string address_;
  bool is_json_ = false;
  std::optional<TapTemplate> template_;
  std::string part_;  // of a line that has not come whole
  uint64_t lines_of_record_ = 1;
  uint64_t shown_ = 0;
  bool was_connected_ = false;
  bool is_waiting_ = false;  // for a broker that has gone
  Figures before_;           // of connections that are over
  Figures now_;
};

}  // namespace

Command tap_command() {
  const auto options = std::make_shared<TapOptions>();
  return {
      .name = "tap",
      .does =
          "Live records, as they come in. Nothing is shown twice: of metrics only what "
          "changed, unless --all is given. Samples, and says so, when more comes than can be "
          "shown; costs the broker nothing while nobody looks",
      .examples = {"insightctl tap -n 5", "insightctl tap --name 'rl_*' -n 3 -f '%t %p %n=%v'",
                   "insightctl tap --signal spans --label lane=trainer_0 -n 1"},
      .arguments = ask_arguments(
          options->ask,
          {{.name = "--signal",
            .value = "SIGNAL",
            .does = "only metrics, or only spans",
            .target = &options->signal,
            .choices = {"metrics", "spans"}},
           {.name = "--name",
            .value = "GLOB",
            .does = "only metrics and spans of this name, like 'rl_*'",
            .target = &options->name},
           {.name = "--publisher",
            .value = "GLOB",
            .does = "only of this service, host, pid, service/host/pid or incarnation",
            .target = &options->publisher},
           {.name = "-l,--label",
            .value = "KEY=GLOB",
            .does = "only with this label, attribute, lane, or key of the resource; all of "
                    "several",
            .target = &options->labels},
           {.name = "-n,--count",
            .value = "N",
            .does = "end after N records",
            .target = &options->count},
           {.name = "-f,--format",
            .value = "FORMAT",
            .does = "json, line, or a template: %t time, %T nanoseconds, %p publisher, %i "
                    "incarnation, %n name, %k kind, %l labels, %L lane, %v value, %u unit, %{key} "
                    "a label or a key of the resource (line on a terminal, else json)",
            .target = &options->format},
           {.name = "--all",
            .does = "also points that were sent again without a change",
            .target = &options->has_refreshes}}),
      .run = [options](Terminal& out) { return TapCommand(*options, out).run(); }};
}

}  // namespace insight::cli
