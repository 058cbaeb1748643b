// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include <nlohmann/json.hpp>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bus/base/clock.hpp"
#include "bus/base/text.hpp"
#include "bus/recording/recording_reader.hpp"
#include "bus/recording/rewrite.hpp"
#include "bus/wire/encoder.hpp"
#include "bus/wire/limits.hpp"
#include "cli/commands.hpp"
#include "cli/exit_code.hpp"
#include "cli/resend.hpp"
#include "publishers/native/settings.hpp"

namespace insight::cli {

namespace {

using namespace std::chrono_literals;
using nlohmann::json;

constexpr uint64_t kProgressEvery = 200 * kMillisecond;
constexpr double kSlowest = 0.001;
constexpr double kFastest = 1'000'000;

struct ReplayOptions {
  std::vector<std::string> files;
  std::string speed = "1";
  std::string endpoint;
  std::chrono::nanoseconds patience = 10s;
  bool json = false;
};

/// One file, read to its end before anything is sent.
struct Recording {
  std::string path;
  uint64_t frames = 0;
  uint64_t first_ns = std::numeric_limits<uint64_t>::max();  // received
  uint64_t last_ns = 0;
  std::string damage;
  std::string change = {};  // since then

  bool is_whole() const { return damage.empty() && change.empty(); }
};

/// One incarnation of the recording, and what it is called now.
struct Publisher {
  IncarnationId incarnation;
  uint64_t t0_ns = 0;
  std::string resource;
  uint64_t highest_seq = 0;  // of the recording
  uint64_t added = 0;        // envelopes that were not in the recording
  uint64_t every_ns = 0;
  uint64_t heard_ns = 0;  // received last, in the recording
  bool has_ended = false;
  bool is_lost = false;  // silent for so long that its broker had given it up
};

/// "1", "0.5", "10x" or "max"; infinity is as fast as the broker takes it.
std::optional<double> parse_speed(std::string_view text) {
  if (text == "max") return std::numeric_limits<double>::infinity();
  if (text.ends_with('x')) text.remove_suffix(1);
  double speed = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), speed);
  const bool is_number = error == std::errc() && end == text.data() + text.size();
  if (!is_number || !(speed >= kSlowest && speed <= kFastest)) return std::nullopt;
  return speed;
}

Result<Recording> survey(const std::string& path) {
  Result<RecordingReader> reader = RecordingReader::open(path);
  if (!reader) return reader.error();
  Recording recording{.path = path};
  while (const auto envelope = reader->next()) {
    recording.first_ns = std::min(recording.first_ns, envelope->received_ns);
    recording.last_ns = std::max(recording.last_ns, envelope->received_ns);
  }
  recording.frames = reader->frames();
  recording.damage = reader->damage();
  return recording;
}

/// A line on standard error that is written over again and again, where somebody looks at it.
class ProgressLine {
 public:
  void show(std::string text) {
    if (!is_terminal_ || mono_now_ns() < next_ns_) return;
    next_ns_ = mono_now_ns() + kProgressEvery;
    winsize size{};
    const bool has_width = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
    // A line that fills its row would begin a new one.
    text.resize(std::min<size_t>(text.size(), has_width ? size.ws_col - 1 : 79));
    (void)std::fprintf(stderr, "\r%s\033[K", text.c_str());
    is_shown_ = true;
  }

  void clear() {
    if (is_shown_) (void)std::fputs("\r\033[K", stderr);
    is_shown_ = false;
  }

 private:
  const bool is_terminal_ = isatty(STDERR_FILENO) != 0;
  bool is_shown_ = false;
  uint64_t next_ns_ = 0;
};

class Replay {
 public:
  Replay(std::vector<Recording> recordings, double speed, Endpoint endpoint,
         std::chrono::nanoseconds patience)
      : recordings_(std::move(recordings)),
        speed_(speed),
        sender_(
            std::move(endpoint), patience, [this] { show_progress(); },
            [this](const std::string& news) { tell(news); }) {
    std::ranges::sort(recordings_, {}, &Recording::first_ns);
    for (const Recording& recording : recordings_) {
      total_ += recording.frames;
      first_ns_ = std::min(first_ns_, recording.first_ns);
      last_ns_ = std::max(last_ns_, recording.last_ns);
    }
    newest_ns_ = checked_ns_ = first_ns_;
  }

  /// The exit code.
  int run() {
    outcome_ = sender_.connect();
    if (outcome_ == Outcome::no_broker) {
      complain("no broker listens at " + sender_.endpoint().text() +
               "; start one with \"insightctl bus run\" or name another with --endpoint");
      return kNoBroker;
    }
    start_ = read_clocks();
    shift_ns_ = shift();
    for (Recording& recording : recordings_) {
      if (outcome_ == Outcome::sent) replay(recording);
    }
    if (outcome_ == Outcome::sent) finish();
    if (outcome_ == Outcome::stopped) {
      (void)sender_.take_signal();
      outcome_ = Outcome::sent;
      is_stopped_ = !has_said_bye_;
      finish();
    }
    progress_.clear();
    if (outcome_ == Outcome::stopped) return kInterrupted;
    took_ns_ = mono_now_ns() - start_.mono_ns;
    is_taken_ = outcome_ != Outcome::not_taken;
    if (outcome_ == Outcome::no_broker) {
      complain("the broker at " + sender_.endpoint().text() + " did not come back: " +
               grouped(sent_) + " of " + grouped(total_) + " envelopes were sent");
      return kNoBroker;
    }
    const bool is_whole = is_taken_ && refused_ == 0 && sender_.interruptions() == 0 &&
                          std::ranges::all_of(recordings_, &Recording::is_whole);
    return is_whole ? kDone : kProblem;
  }

  void report(Terminal& out) const {
    out.line((is_stopped_ ? "stopped after "
              : is_taken_ ? "replayed "
                          : "sent ") +
             grouped(sent_) + (is_stopped_ ? " of " + grouped(total_) : "") +
             (sent_ == 1 && !is_stopped_ ? " envelope of " : " envelopes of ") +
             grouped(publishers_.size()) +
             (publishers_.size() == 1 ? " publisher" : " publishers") + " in " +
             format_duration(took_ns_ / kMillisecond * kMillisecond));
    for (const Recording& recording : recordings_) {
      if (!recording.damage.empty()) {
        out.line(printable(recording.path) + ": " + grouped(recording.frames) +
                 " whole envelopes, then " + recording.damage);
      }
      if (!recording.change.empty()) out.line(printable(recording.path) + ": " + recording.change);
    }
    if (!is_taken_) {
      out.line("the broker at " + sender_.endpoint().text() +
               " has not read all of it: what it had not read is missing");
    }
    if (refused_ > 0) out.line(grouped(refused_) + " messages were no envelopes of version 1");
    if (sender_.interruptions() > 0) {
      const uint64_t times = sender_.interruptions();
      out.line("the broker was away " + (times == 1 ? "once" : grouped(times) + " times") +
               ": what was on its way to it may be missing");
    }
  }

  json as_json() const {
    json files = json::array(), publishers = json::array();
    for (const Recording& recording : recordings_) {
      files.push_back({{"file", to_utf8(recording.path)},
                       {"envelopes", recording.frames},
                       {"damage", recording.damage},
                       {"change", recording.change}});
    }
    for (const auto& [recorded, publisher] : publishers_) {
      publishers.push_back({{"recorded", to_hex(recorded.view())},
                            {"replayed", to_hex(publisher.incarnation.view())}});
    }
    return {{"envelopes", sent_},
            {"of", total_},
            {"refused", refused_},
            {"interruptions", sender_.interruptions()},
            {"taken", is_taken_},
            {"stopped", is_stopped_},
            {"seconds", static_cast<double>(took_ns_) * 1e-9},
            {"files", std::move(files)},
            {"publishers", std::move(publishers)}};
  }

 private:
  using Outcome = Resender::Outcome;

  bool is_paced() const { return std::isfinite(speed_); }

  /// How long after the start something is sent that was received at this time.
  uint64_t offset(uint64_t received_ns) const {
    if (!is_paced()) return 0;
    return static_cast<uint64_t>(static_cast<double>(received_ns - first_ns_) / speed_);
  }

  /// One shift for all times, so that what belongs together stays together; none comes to lie ahead
  /// of the clock.
  int64_t shift() const {
    const uint64_t to = speed_ > 1 ? start_.wall_ns + offset(last_ns_) : start_.wall_ns;
    const uint64_t from = speed_ > 1 ? last_ns_ : first_ns_;
    return static_cast<int64_t>(to - from);
  }

  void replay(Recording& recording) {
    Result<RecordingReader> reader = RecordingReader::open(recording.path);
    // The file may have grown, or be another one by now.
    uint64_t count = 0;
    for (; reader && count < recording.frames && outcome_ == Outcome::sent; ++count) {
      const auto envelope = reader->next();
      if (!envelope) break;
      ++read_;
      take(*envelope);
    }
    if (outcome_ == Outcome::sent && count < recording.frames) {
      recording.change = "changed while it was replayed: " + grouped(count) + " of " +
                         grouped(recording.frames) + " envelopes were read again";
    }
  }

  void take(const RecordedEnvelope& envelope) {
    const auto decoded = decoder_.decode(envelope.message, envelope.received_ns);
    if (!decoded) {
      ++refused_;
      return;
    }
    const uint64_t at_ns = std::clamp(envelope.received_ns, newest_ns_, last_ns_);
    newest_ns_ = at_ns;
    if (is_paced()) outcome_ = sender_.wait_until(start_.mono_ns + offset(at_ns));
    if (outcome_ == Outcome::sent) lose_the_silent();
    if (outcome_ != Outcome::sent) return;

    const wire::EnvelopeView& view = **decoded;
    Publisher& publisher = find(view);
    publisher.highest_seq = std::max(publisher.highest_seq, view.seq);
    publisher.every_ns = view.every_ms * kMillisecond;
    publisher.heard_ns = at_ns;
    publisher.is_lost = false;
    publisher.has_ended = publisher.has_ended || view.life == wire::LifeEvent::bye;
    Rewrite with{.incarnation = publisher.incarnation,
                 .seq = view.seq + publisher.added,
                 .shift_ns = shift_ns_,
                 .sent = read_clocks(),
                 .boot = boot_};
    // Beats come as much later.
    if (speed_ < 1)
      with.every_ms = static_cast<uint64_t>(static_cast<double>(view.every_ms) / speed_);
    if (!rewrite_envelope(envelope.message, with, message_) ||
        message_.size() > wire::kMaxEnvelopeBytes) {
      ++refused_;
      return;
    }
    send();
    if (outcome_ == Outcome::sent) ++sent_;
    show_progress();
  }

  Publisher& find(const wire::EnvelopeView& view) {
    const auto [at, is_new] = publishers_.try_emplace(view.inc);
    Publisher& publisher = at->second;
    if (is_new) {
      random_bytes(std::as_writable_bytes(std::span(publisher.incarnation.bytes)));
      publisher.t0_ns = view.t0_ns + static_cast<uint64_t>(shift_ns_);
      publisher.resource = view.resource;
    }
    return publisher;
  }

  /// Whoever fell silent in the recording for three beats was given up by its broker.  Faster than
  /// it was, the silence would not be long enough: here the last one of its beats says that it
  /// beats often.
  void lose_the_silent() {
    if (speed_ <= 1 || newest_ns_ < checked_ns_ + kSecond) return;
    checked_ns_ = newest_ns_;
    for (auto& [recorded, publisher] : publishers_) {
      if (outcome_ == Outcome::sent && is_silent(publisher) && !publisher.is_lost) {
        publisher.is_lost = true;
        say(publisher, wire::LifeEvent::beat, wire::kMinEveryMs);
      }
    }
  }

  bool is_silent(const Publisher& publisher) const {
    return !publisher.has_ended && newest_ns_ - publisher.heard_ns >= 3 * publisher.every_ns;
  }

  /// All have ended, and the broker has it.
  void finish() {
    if (!has_said_bye_) say_bye();
    if (outcome_ != Outcome::sent) return;
    has_said_bye_ = true;
    outcome_ = sender_.finish();
  }

  void say_bye() {
    checked_ns_ = 0;
    lose_the_silent();
    for (auto& [recorded, publisher] : publishers_) {
      if (outcome_ != Outcome::sent) return;
      const bool is_gone = publisher.has_ended || (!is_stopped_ && is_silent(publisher));
      if (!is_gone) say(publisher, wire::LifeEvent::bye, 0);
    }
  }

  void say(Publisher& publisher, wire::LifeEvent life, uint64_t every_ms) {
    ++publisher.added;
    writer_.start({.inc = publisher.incarnation,
                   .seq = publisher.highest_seq + publisher.added,
                   .t0_ns = publisher.t0_ns,
                   .resource = publisher.resource,
                   .every_ms = every_ms,
                   .life = life});
    message_ = writer_.finish(read_clocks());
    send();
  }

  void send() { outcome_ = sender_.send(message_); }

  void tell(const std::string& news) {
    progress_.clear();
    complain(news);
  }

  void show_progress() {
    const uint64_t ns = mono_now_ns() - start_.mono_ns;
    if (start_.mono_ns == 0 || ns == 0) return;
    const double rate = static_cast<double>(sent_) / (static_cast<double>(ns) * 1e-9);
    progress_.show(std::to_string(read_ * 100 / std::max<uint64_t>(total_, 1)) + " %  " +
                   grouped(sent_) + " of " + grouped(total_) + " envelopes  " +
                   grouped(static_cast<uint64_t>(rate)) + "/s");
  }

  std::vector<Recording> recordings_;
  const double speed_;
  const std::array<std::byte, 16> boot_ = boot_id();
  uint64_t first_ns_ = std::numeric_limits<uint64_t>::max();  // received, in all files
  uint64_t last_ns_ = 0;
  uint64_t total_ = 0;

  Now start_;
  int64_t shift_ns_ = 0;
  uint64_t newest_ns_ = 0;   // as far as the recording has been read
  uint64_t checked_ns_ = 0;  // when silence was looked for, in the recording
  std::unordered_map<IncarnationId, Publisher, IncarnationIdHash> publishers_;
  wire::Decoder decoder_;
  wire::EnvelopeWriter writer_;
  std::string message_;
  uint64_t read_ = 0;
  uint64_t sent_ = 0;
  uint64_t refused_ = 0;
  uint64_t took_ns_ = 0;
  bool is_stopped_ = false;
  bool has_said_bye_ = false;
  bool is_taken_ = true;
  Outcome outcome_ = Outcome::sent;
  ProgressLine progress_;
  Resender sender_;
};

/// Where the broker is; complains when it makes no sense.
std::optional<Endpoint> endpoint_of(const ReplayOptions& options) {
  native::Settings settings =
      native::settings_from({.endpoint = options.endpoint},
                            [](const char* name) -> const char* { return std::getenv(name); });
  const Result<Endpoint> endpoint = native::find_endpoint(settings);
  if (endpoint) return *endpoint;
  complain((options.endpoint.empty() ? "INSIGHT_ENDPOINT: " : "--endpoint: ") +
           endpoint.error().message);
  return std::nullopt;
}

int replay(const ReplayOptions& options, Terminal& out) {
  const std::optional<double> speed = parse_speed(options.speed);
  if (!speed) {
    complain("--speed: expected a number from 0.001 to 1000000 such as 10, or max, got \"" +
             options.speed + "\"");
    return kWrongUse;
  }
  const std::optional<Endpoint> endpoint = endpoint_of(options);
  if (!endpoint) return kWrongUse;
  std::vector<Recording> recordings;
  for (const std::string& path : options.files) {
    Result<Recording> recording = survey(path);
    if (!recording) {
      complain(recording.error().message);
      return kWrongUse;
    }
    recordings.push_back(std::move(*recording));
  }
  Replay replay(std::move(recordings), *speed, *endpoint, options.patience);
  const int code = replay.run();
  if (code == kNoBroker || code == kInterrupted) return code;
  if (options.json) {
    out.raw(replay.as_json().dump() + "\n");
  } else {
    replay.report(out);
  }
  return code;
}

}  // namespace

Command replay_command() {
  const auto options = std::make_shared<ReplayOptions>();
  return {.name = "replay",
          .does =
              "Publishes recorded envelopes again (file sink, format = \"envelope\"). Each "
              "publisher of the recording comes as a new one, all times are moved to now, and "
              "nothing is dropped: it waits for the broker",
          .examples = {"insightctl replay --speed max telemetry/recording.envelope",
                       "insightctl replay --speed 10 telemetry/recording*.envelope*"},
          .arguments = {{.name = "files",
                         .value = "FILE",
                         .does = "recordings, plain, .zst or .gz, in any order",
                         .target = &options->files,
                         .is_required = true},
                        {.name = "--speed",
                         .value = "SPEED",
                         .does = "so many times as fast as it was recorded, or max (1)",
                         .target = &options->speed},
                        {.name = "--endpoint",
                         .value = "ENDPOINT",
                         .does = "where the broker listens (else as every publisher finds it)",
                         .target = &options->endpoint},
                        {.name = "--wait",
                         .value = "DURATION",
                         .does = "how long to wait for a broker that is not there (10s)",
                         .target = &options->patience},
                        {.name = "--json", .does = "the report as JSON", .target = &options->json}},
          .run = [options](Terminal& out) { return replay(*options, out); }};
}

}  // namespace insight::cli
