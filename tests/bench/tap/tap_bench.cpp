// SPDX-License-Identifier: Apache-2.0
// What a client that looks at live records costs the collector's thread, at 200,000 records a
// second: CPU time of decoding and handing over, without a tap, with one, with a narrow one, and
// after they were closed.  The four alternate, so that what else the machine does meets all alike.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <time.h>

#include "bus/base/clock.hpp"
#include "bus/base/log.hpp"
#include "bus/broker/taps.hpp"
#include "bus/collectors/intake.hpp"
#include "bus/http/http_stream.hpp"
#include "bus/pipeline/fan_out.hpp"
#include "bus/pipeline/sink_worker.hpp"
#include "bus/wire/encoder.hpp"

namespace insight {
namespace {

constexpr size_t kPoints = 1'000;  // of an envelope
constexpr uint64_t kEveryNs = 5 * kMillisecond;
constexpr int kTurns = 40;
constexpr int kEnvelopesATurn = 80;

class Forget final : public Sink {
 public:
  void open() override {}

  Delivery write(const Batch&) override { return {}; }

  void close() noexcept override {}
};

uint64_t thread_cpu_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<uint64_t>(now.tv_sec) * kSecond + static_cast<uint64_t>(now.tv_nsec);
}

void sleep_until(uint64_t mono_ns) {
  const timespec at{static_cast<time_t>(mono_ns / kSecond), static_cast<long>(mono_ns % kSecond)};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr);
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

/// One publisher whose 1,000 counters all change with every envelope.
class Publisher {
 public:
  Publisher() {
    Family family;
    family.name = "engine_requests_total";
    family.label_keys = {"worker", "stage", "route", "code"};
    family_ = wire::encode_family(family);
    for (size_t i = 0; i < kPoints; ++i) {
      const std::string route = "/v1/chat/completions/" + std::to_string(i);
      const std::array<std::string_view, 4> values{"worker-7", "rollout", route, "200"};
      labels_.push_back(wire::encode_labels(values));
    }
    Resource resource;
    resource.attributes = {
        {"host.name", "node-1"}, {"role", "rollout"}, {"service.name", "engine"}};
    resource_ = wire::encode_resource(resource);
    head_.inc.bytes.fill(1);
    head_.t0_ns = wall_now_ns();
    head_.resource = resource_;
  }

  std::string_view next() {
    ++head_.seq;
    writer_.start(head_);
    writer_.family(family_);
    for (const std::string& labels : labels_) {
      writer_.point(labels, static_cast<double>(head_.seq));
    }
    return writer_.finish(read_clocks());
  }

 private:
  std::string family_, resource_;
  std::vector<std::string> labels_;
  wire::EnvelopeHead head_;
  wire::EnvelopeWriter writer_;
};

/// A tap and a client that reads all that comes.
class Client {
 public:
  Client(Taps& taps, std::string query)
      : stream_(taps.open({.query = std::move(query)}).stream), thread_([this] { read(); }) {}

  ~Client() {
    stream_->detach();
    is_over_ = true;
  }

  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

 private:
  void read() {
    stream_->attach([] {}, [] {});
    std::string buffer(1 << 20, '\0');
    while (!is_over_) {
      while (stream_->waiting() > 0 && stream_->take(buffer.data(), buffer.size()) > 0) {
      }
      sleep_until(mono_now_ns() + 10 * kMillisecond);
    }
  }

  std::shared_ptr<HttpStream> stream_;
  std::atomic<bool> is_over_{false};
  std::jthread thread_;
};

struct Bench {
  SinkWorker worker{std::make_unique<Forget>(), {.name = "null", .type = "null"}, Logger::none()};
  FanOut fan_out{{&worker}};
  Taps taps{fan_out};
  Intake intake{{}, {}, std::make_shared<SeriesIds>()};
  Publisher publisher;
  uint64_t next_ns = 0;

  /// Nanoseconds a record of each envelope.
  void run(std::vector<double>& costs) {
    next_ns = mono_now_ns();
    for (int i = 0; i < kEnvelopesATurn; ++i) {
      const std::string_view message = publisher.next();
      sleep_until(next_ns += kEveryNs);
      const uint64_t start = thread_cpu_ns();
      intake.take(message, read_clocks());
      intake.deliver(taps);
      const uint64_t used = thread_cpu_ns() - start;
      // The first ones of a turn meet a budget that is full, and caches of another kind of turn.
      if (i >= 20) costs.push_back(static_cast<double>(used) / kPoints);
    }
  }
};

class Drop final : public BatchReceiver {
 public:
  void receive(std::shared_ptr<const Batch>) noexcept override {}
};

/// What handing one batch over costs, whatever it holds.
void bench_hand_over() {
  constexpr int kBatches = 200'000;
  Drop drop;
  Taps taps(drop);
  auto filled = std::make_shared<Batch>();
  filled->points.resize(kPoints);
  const std::shared_ptr<const Batch> batch = std::move(filled);
  const auto report = [&](const char* what) {
    std::vector<double> costs;
    for (int run = 0; run < 5; ++run) {
      const uint64_t start = thread_cpu_ns();
      for (int i = 0; i < kBatches; ++i) taps.receive(batch);
      costs.push_back(static_cast<double>(thread_cpu_ns() - start) / kBatches);
    }
    const double at_rate = median(costs) * 1e-9 * 200'000 / kPoints;
    std::printf(
        "hand over a batch, %-29s %6.1f ns; with 1,000 records in it at 200,000 a second "
        "%.5f %% of a core\n",
        what, median(costs), at_rate * 100);
  };
  report("no tap:");
  {
    const Client client(taps, "");
    report("a tap whose budget is spent:");
  }
  while (taps.stats().open > 0) sleep_until(mono_now_ns() + kMillisecond);
  report("after it was closed:");
}

/// What one way to look costs: medians of turns, and what they are to the turns around without one.
struct Costs {
  std::vector<double> ns, ratio;

  void add(double cost, double without) {
    ns.push_back(cost);
    ratio.push_back(cost / without);
  }

  void report(const char* what) {
    std::ranges::sort(ratio);
    const auto percent = [this](size_t quarter) {
      return (ratio[ratio.size() * quarter / 4] - 1) * 100;
    };
    std::printf(
        "collector thread, 200,000 records a second, %-24s %7.2f ns a record %+6.2f %% "
        "(quartiles %+.2f, %+.2f)\n",
        what, median(ns), percent(2), percent(1), percent(3));
  }
};

void bench() {
  Bench bench;
  bench.worker.start();
  Costs without, with, narrow, closed;
  const auto turn = [&bench] {
    std::vector<double> costs;
    bench.run(costs);
    return median(std::move(costs));
  };
  double before = turn();
  for (int i = 0; i < kTurns; ++i) {
    double all = 0, one = 0;
    {
      const Client client(bench.taps, "");
      all = turn();
    }
    {
      const Client client(bench.taps, "name=other*");
      one = turn();
    }
    while (bench.taps.stats().open > 0) sleep_until(mono_now_ns() + kMillisecond);
    const double after = turn();
    const double next = turn();
    const double around = (before + after) / 2;
    without.add(before, around);
    with.add(all, around);
    narrow.add(one, around);
    closed.add(after, (before + next) / 2);
    before = next;
  }
  without.report("no tap:");
  with.report("a tap on everything:");
  narrow.report("a tap on one metric:");
  closed.report("after taps were closed:");
  const TapStats stats = bench.taps.stats();
  std::printf("taps: %llu records came by, %llu left out, %llu sent\n",
              static_cast<unsigned long long>(stats.records),
              static_cast<unsigned long long>(stats.left_out),
              static_cast<unsigned long long>(stats.sent));
  (void)bench.worker.stop(std::chrono::seconds(5));
}

}  // namespace
}  // namespace insight

int main() {
  insight::bench_hand_over();
  insight::bench();
}
