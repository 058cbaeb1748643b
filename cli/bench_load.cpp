// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_load.hpp"

#include <algorithm>
#include <bit>
#include <charconv>
#include <chrono>
#include <cstring>
#include <deque>
#include <optional>
#include <thread>

#include <unistd.h>

#include "bus/base/clock.hpp"
#include "bus/base/text.hpp"
#include "bus/transport/context.hpp"
#include "bus/transport/push_socket.hpp"
#include "bus/wire/encoder.hpp"

namespace insight::cli {

namespace {

using namespace std::chrono_literals;
using transport::PushSocket;
using transport::SendResult;

constexpr double kEnvelopesEachSecond = 200;
constexpr double kMaxRecords = 1'000;  // of an envelope
constexpr auto kLinger = 2s;
constexpr std::array<double, 8> kBounds{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25};

std::string packed_resource() {
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
  Resource resource;
  resource.attributes = {{"host.name", to_utf8(host.data())},
                         {"process.pid", static_cast<int64_t>(getpid())},
                         {"run", std::string("insight-bench")},
                         {"service.name", std::string("insight-bench")}};
  return wire::encode_resource(resource);
}

Family family_of(Kind kind) {
  Family family;
  family.kind = kind;
  family.label_keys = {"slot"};
  if (kind == Kind::counter) {
    family.name = "insight_bench_records_total";
    family.help = "Records of insightctl bench";
  } else if (kind == Kind::gauge) {
    family.name = "insight_bench_level";
    family.help = "A gauge of insightctl bench";
    family.merge = GaugeMode::sum;
  } else {
    family.name = "insight_bench_duration_seconds";
    family.help = "A histogram of insightctl bench";
    family.bounds.assign(kBounds.begin(), kBounds.end());
  }
  return family;
}

/// The series of one kind; every publisher has a copy, because values differ.
struct Group {
  Kind kind = Kind::counter;
  std::string family;
  std::vector<std::string> labels;
  std::vector<uint64_t> values;  // times recorded
};

std::vector<Group> groups_of(const BenchMix& mix) {
  const std::pair<Kind, uint64_t> shares[] = {
      {Kind::counter, mix.counter}, {Kind::gauge, mix.gauge}, {Kind::histogram, mix.histogram}};
  const uint64_t sum = mix.counter + mix.gauge + mix.histogram;
  std::vector<Group> groups;
  for (const auto& [kind, share] : shares) {
    if (share == 0) continue;
    Group group{kind, wire::encode_family(family_of(kind)), {}, {}};
    const uint64_t count = std::max<uint64_t>(1, Load::kSeries * share / sum);
    for (uint64_t i = 0; i < count; ++i) {
      const std::string slot = std::to_string(i);
      const std::string_view value = slot;
      group.labels.push_back(wire::encode_labels({&value, 1}));
    }
    group.values.resize(count);
    groups.push_back(std::move(group));
  }
  return groups;
}

/// One publisher; its thread is the one that calls.
class BenchPublisher {
 public:
  BenchPublisher(transport::Context& context, const Endpoint& endpoint, const BenchMix& mix,
                 size_t number)
      : socket_(std::make_unique<PushSocket>(context, endpoint)),
        resource_(packed_resource()),
        groups_(groups_of(mix)),
        lane_("bench_" + std::to_string(number)) {
    const uint64_t points = mix.counter + mix.gauge + mix.histogram;
    span_share_ = static_cast<double>(mix.span) / static_cast<double>(points + mix.span);
    random_bytes(std::as_writable_bytes(std::span(head_.inc.bytes)));
    random_bytes(std::as_writable_bytes(std::span(ids_)));
    head_.t0_ns = wall_now_ns();
    head_.resource = resource_;
    head_.boot = std::bit_cast<std::array<unsigned char, 16>>(boot_id());
    socket_->set_linger(kLinger);
  }

  bool connect(uint64_t deadline_mono_ns, const Load::IsStopped& is_stopped) {
    while (!socket_->is_connected() && mono_now_ns() < deadline_mono_ns && !is_stopped()) {
      socket_->wait(20ms);
    }
    return socket_->is_connected() && say(wire::LifeEvent::hello, deadline_mono_ns, is_stopped);
  }

  void run(double rate, uint64_t duration_ns, const std::atomic<bool>& stop) {
    const auto records =
        static_cast<size_t>(std::clamp(rate / kEnvelopesEachSecond, 1.0, kMaxRecords));
    const double interval_ns = static_cast<double>(records) / rate * 1e9;
    const Now start = read_clocks();
    for (uint64_t i = 0;; ++i) {
      const auto due_ns = static_cast<uint64_t>(static_cast<double>(i) * interval_ns);
      if (due_ns >= duration_ns || stop.load(std::memory_order_relaxed)) return;
      sleep_until(start.mono_ns + due_ns, stop);
      const bool is_spans = next_is_spans();
      count_.recorded += records;
      if (is_spans) spans_ += records;
      if (!send(is_spans, records, {start.wall_ns + due_ns, start.mono_ns + due_ns}, stop)) {
        count_.dropped += records;
      }
    }
  }

  /// The connection; without it a reader that is behind would lose what stands in the kernel.
  UniqueFd finish(uint64_t deadline_mono_ns, const Load::IsStopped& is_stopped) {
    (void)say(wire::LifeEvent::bye, deadline_mono_ns, is_stopped);
    UniqueFd connection = socket_->duplicate_connection();
    socket_.reset();
    return connection;
  }

  const LoadCounts& counts() const noexcept { return count_; }

  Load::Publisher view() const { return {to_hex(head_.inc.view()), count_.envelopes}; }

 private:
  static void sleep_until(uint64_t mono_ns, const std::atomic<bool>& stop) {
    for (uint64_t now = mono_now_ns(); now < mono_ns && !stop.load(std::memory_order_relaxed);
         now = mono_now_ns()) {
      std::this_thread::sleep_for(
          std::chrono::nanoseconds(std::min<uint64_t>(mono_ns - now, 20 * kMillisecond)));
    }
  }

  bool next_is_spans() noexcept {
    credit_ += span_share_;
    if (credit_ < 1 && !groups_.empty()) return false;
    credit_ -= 1;
    return true;
  }

  /// Sends one envelope of records that were due at `due`; false when it was too late for them.
  bool send(bool is_spans, size_t records, const Now& due, const std::atomic<bool>& stop) {
    bool is_written = false;
    while (!stop.load(std::memory_order_relaxed) && mono_now_ns() < due.mono_ns + Load::kLatestNs) {
      if (!is_written) {
        start(wire::LifeEvent::none, due.wall_ns, is_spans ? records : 0);
        is_spans ? write_spans(records, due.wall_ns) : write_points(records);
        is_written = true;
      }
      const std::string_view message = writer_.finish(read_clocks());
      const SendResult result = socket_->send(message);
      if (result == SendResult::accepted) {
        note_sent(message.size());
        count_.sent += records;
        if (is_spans) spans_sent_ += records;
        return true;
      }
      if (result == SendResult::failed) return false;
      const uint64_t since = mono_now_ns();
      socket_->wait(10ms, -1, PushSocket::WaitFor::events_or_room);
      count_.blocked_ns += mono_now_ns() - since;
    }
    return false;
  }

  bool say(wire::LifeEvent life, uint64_t deadline_mono_ns, const Load::IsStopped& is_stopped) {
    start(life, 0, 0);
    while (true) {
      const std::string_view message = writer_.finish(read_clocks());
      const SendResult result = socket_->send(message);
      if (result == SendResult::accepted) {
        note_sent(message.size());
        return true;
      }
      if (result == SendResult::failed || mono_now_ns() >= deadline_mono_ns || is_stopped()) {
        return false;
      }
      socket_->wait(10ms, -1, PushSocket::WaitFor::events_or_room);
    }
  }

  void start(wire::LifeEvent life, uint64_t oldest_ns, size_t spans) {
    accounts_ = {{{"spans", spans_},
                  {"spans_sent", spans_sent_ + spans},
                  {"bytes_sent", bytes_},
                  {"drop.bench_late", count_.dropped}}};
    head_.accounts = accounts_;
    head_.seq = count_.envelopes + 1;
    head_.life = life;
    head_.oldest_ns = oldest_ns;
    writer_.start(head_);
  }

  void note_sent(size_t bytes) noexcept {
    ++count_.envelopes;
    bytes_ += bytes;
  }

  void write_points(size_t records) {
    while (records > 0) {
      Group& group = groups_[group_];
      const size_t count = std::min(records, group.values.size() - slot_);
      writer_.family(group.family);
      for (size_t end = slot_ + count; slot_ < end; ++slot_) write_point(group);
      records -= count;
      if (slot_ < group.values.size()) continue;
      slot_ = 0;
      group_ = (group_ + 1) % groups_.size();
    }
  }

  void write_point(Group& group) {
    const uint64_t times = ++group.values[slot_];
    if (group.kind != Kind::histogram) {
      return writer_.point(group.labels[slot_], static_cast<double>(times));
    }
    std::array<uint64_t, kBounds.size() + 1> buckets{};
    for (size_t i = 0; i < buckets.size(); ++i) {
      buckets[i] = (times + buckets.size() - 1 - i) / buckets.size();
    }
    writer_.point(group.labels[slot_],
                  {.count = times, .sum = static_cast<double>(times) * 0.01, .buckets = buckets});
  }

  void write_spans(size_t records, uint64_t end_ns) {
    Span span;
    span.name = "insight_bench";
    span.lane = lane_;
    span.start_ns = end_ns - kMillisecond;
    span.end_ns = end_ns;
    for (size_t i = 0; i < records; ++i) {
      ids_[1] += 1;
      ids_[2] += ids_[2] == UINT64_MAX ? 2 : 1;  // an id must not be all zero
      std::memcpy(span.trace_id.data(), ids_.data(), span.trace_id.size());
      std::memcpy(span.span_id.data(), &ids_[2], span.span_id.size());
      encoded_.clear();
      wire::encode_span(span, encoded_);
      writer_.span(encoded_);
    }
  }

  std::unique_ptr<PushSocket> socket_;
  std::string resource_;
  std::vector<Group> groups_;
  std::string lane_;
  double span_share_ = 0;
  double credit_ = 0;
  size_t group_ = 0;
  size_t slot_ = 0;
  std::array<uint64_t, 3> ids_{};
  wire::EnvelopeHead head_;
  wire::EnvelopeWriter writer_;
  std::array<std::pair<std::string_view, uint64_t>, 4> accounts_{};
  std::string encoded_;
  LoadCounts count_;
  uint64_t spans_ = 0;
  uint64_t spans_sent_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace

Result<BenchMix> parse_mix(std::string_view text) {
  BenchMix mix{0, 0, 0, 0};
  const std::pair<std::string_view, uint64_t*> kinds[] = {{"counter", &mix.counter},
                                                          {"gauge", &mix.gauge},
                                                          {"histogram", &mix.histogram},
                                                          {"span", &mix.span}};
  const std::string form = "expected shares such as counter=6,gauge=2,histogram=1,span=1";
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view part = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
    const std::string_view name = part.substr(0, part.find('='));
    const auto kind =
        std::ranges::find(kinds, name, &std::pair<std::string_view, uint64_t*>::first);
    if (kind == std::end(kinds)) {
      const std::string_view known[] = {"counter", "gauge", "histogram", "span"};
      const std::string_view near = nearest(name, known);
      return Error{"there is no record \"" + std::string(name) + "\"" +
                   (near.empty() ? "; " + form : ", did you mean \"" + std::string(near) + "\"?")};
    }
    const std::string_view digits = name.size() == part.size() ? "1" : part.substr(name.size() + 1);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), *kind->second);
    if (error != std::errc() || end != digits.data() + digits.size() || *kind->second > 1'000) {
      return Error{"\"" + std::string(part) + "\": a share is a whole number up to 1000"};
    }
  }
  if (mix.counter + mix.gauge + mix.histogram + mix.span == 0) return Error{form};
  return mix;
}

LoadCounts& LoadCounts::operator+=(const LoadCounts& other) noexcept {
  recorded += other.recorded;
  dropped += other.dropped;
  sent += other.sent;
  envelopes += other.envelopes;
  blocked_ns += other.blocked_ns;
  return *this;
}

LoadCounts LoadCounts::operator-(const LoadCounts& other) const noexcept {
  return {recorded - other.recorded, dropped - other.dropped, sent - other.sent,
          envelopes - other.envelopes, blocked_ns - other.blocked_ns};
}

struct Load::Impl {
  transport::Context context;
  std::deque<BenchPublisher> publishers;  // they do not move: views lead into them
};

Load::Load(const Endpoint& endpoint, uint64_t publishers, const BenchMix& mix)
    : impl_(std::make_unique<Impl>()) {
  for (uint64_t i = 0; i < publishers; ++i) {
    impl_->publishers.emplace_back(impl_->context, endpoint, mix, i);
  }
}

Load::~Load() = default;

bool Load::connect(uint64_t deadline_mono_ns, const IsStopped& is_stopped) {
  return std::ranges::all_of(impl_->publishers, [&](BenchPublisher& publisher) {
    return publisher.connect(deadline_mono_ns, is_stopped);
  });
}

void Load::run(double rate, uint64_t duration_ns, const std::atomic<bool>& stop) {
  const double each = rate / static_cast<double>(impl_->publishers.size());
  std::vector<std::jthread> threads;
  for (BenchPublisher& publisher : impl_->publishers) {
    threads.emplace_back(
        [&publisher, &stop, each, duration_ns] { publisher.run(each, duration_ns, stop); });
  }
}

void Load::finish(const IsStopped& is_stopped) {
  const uint64_t bye_until_ns = mono_now_ns() + kSecond;
  std::vector<UniqueFd> connections;
  for (BenchPublisher& publisher : impl_->publishers) {
    connections.push_back(publisher.finish(bye_until_ns, is_stopped));
  }
  // One limit for all: of a broker that stands still each would take as long.
  const auto read_until = std::chrono::steady_clock::now() + kLinger;
  for (const UniqueFd& connection : connections) {
    while (!transport::wait_until_read(connection, 20ms)) {
      if (is_stopped() || std::chrono::steady_clock::now() >= read_until) return;
    }
  }
}

LoadCounts Load::counts() const {
  LoadCounts sum;
  for (const BenchPublisher& publisher : impl_->publishers) sum += publisher.counts();
  return sum;
}

std::vector<Load::Publisher> Load::publishers() const {
  std::vector<Publisher> out;
  for (const BenchPublisher& publisher : impl_->publishers) out.push_back(publisher.view());
  return out;
}

}  // namespace insight::cli
