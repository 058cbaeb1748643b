// SPDX-License-Identifier: Apache-2.0
// What a call on an instrument costs its caller: CPU time per call with one and with two threads on
// the same instrument; a plain thread_local increment and prometheus-cpp beside it in the same
// rounds.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <time.h>

#include <insight/insight.hpp>

namespace {

constexpr int kRounds = 9;
constexpr uint64_t kCalls = 4'000'000;

double thread_cpu_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

// Makes the compiler believe that memory is read and written here.
inline void touch() { asm volatile("" ::: "memory"); }

thread_local double plain = 0;

// Latencies as they are: most near 50 ms, a long tail.
const std::array<double, 1024> kSamples = [] {
  std::array<double, 1024> samples{};
  std::mt19937_64 random(1);
  std::lognormal_distribution<double> latency(-3.0, 1.2);
  for (double& sample : samples) sample = latency(random);
  return samples;
}();

struct Case {
  std::string name;
  std::function<void(uint64_t)> run;  // that many calls
  uint64_t calls = kCalls;
  std::array<std::vector<double>, 2> ns{};  // by threads - 1
};

double cpu_per_call(const Case& one, int threads) {
  std::vector<double> spent(static_cast<size_t>(threads));
  std::vector<std::thread> workers;
  for (double& ns : spent) {
    workers.emplace_back([&] {
      one.run(one.calls / 100);  // a thread's first call is not what is measured
      const double before = thread_cpu_ns();
      one.run(one.calls);
      ns = thread_cpu_ns() - before;
    });
  }
  double sum = 0;
  for (std::thread& worker : workers) worker.join();
  for (double ns : spent) sum += ns;
  return sum / static_cast<double>(one.calls) / threads;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

}  // namespace

int main() {
  // Nobody listens: what the flush thread does then is part of no call.
  insight::Publisher publisher{{.service = "bench", .endpoint = "ipc:///nonexistent/bus.ipc"}};
  const insight::Counter counter = publisher.counter("bench_total");
  const insight::Gauge gauge = publisher.gauge("bench");
  const insight::Histogram histogram = publisher.histogram("bench_seconds");
  prometheus::Counter their_counter;
  prometheus::Gauge their_gauge;
  prometheus::Histogram their_histogram{
      std::vector<double>(insight::buckets::seconds.begin(), insight::buckets::seconds.end())};
  const auto repeat = [](auto call) {
    return [call](uint64_t n) {
      for (uint64_t i = 0; i < n; ++i) {
        call(i);
        touch();
      }
    };
  };
  const auto sample = [](uint64_t i) { return kSamples[i % kSamples.size()]; };

  std::vector<Case> cases;
  cases.push_back({"plain thread_local double += 1", repeat([](uint64_t) { plain += 1; })});
  cases.push_back({"insight counter.add", repeat([&](uint64_t) { counter.add(1); })});
  cases.push_back(
      {"prometheus-cpp Counter::Increment", repeat([&](uint64_t) { their_counter.Increment(); })});
  cases.push_back({"insight histogram.observe, 19 bounds",
                   repeat([&](uint64_t i) { histogram.observe(sample(i)); })});
  cases.push_back({"insight histogram.observe inside of a span", [&](uint64_t n) {
                     const insight::ActiveSpan span = publisher.span("decode");
                     for (uint64_t i = 0; i < n; ++i) {
                       histogram.observe(sample(i));
                       touch();
                     }
                   }});
  cases.push_back({"prometheus-cpp Histogram::Observe, 19 bounds",
                   repeat([&](uint64_t i) { their_histogram.Observe(sample(i)); }), kCalls / 4});
  cases.push_back({"insight gauge.set", repeat([&](uint64_t i) { gauge.set(sample(i)); })});
  cases.push_back(
      {"prometheus-cpp Gauge::Set", repeat([&](uint64_t i) { their_gauge.Set(sample(i)); })});
  cases.push_back({"insight counter.with(one label).add, a child that is not kept",
                   repeat([&](uint64_t) { counter.with({{"route", "/v1/completions"}}).add(1); }),
                   kCalls / 20});
  // The ring fills up after some 2,000 spans: encoding is measured, sending is not.
  cases.push_back({"insight span with lane and one attribute, begin to end",
                   repeat([&](uint64_t i) {
                     insight::ActiveSpan span = publisher.span("decode", {.lane = "replica_0"});
                     span.attribute("step", static_cast<int64_t>(i));
                   }),
                   kCalls / 20});

  // Round by round through all cases, so that a busy moment of the machine does not hit one of them
  // alone.
  for (int round = 0; round < kRounds; ++round) {
    for (Case& one : cases) {
      for (int threads : {1, 2})
        one.ns[static_cast<size_t>(threads - 1)].push_back(cpu_per_call(one, threads));
    }
  }

  std::printf("%-56s %12s %12s\n", "CPU ns per call, median of 9 rounds", "1 thread", "2 threads");
  for (const Case& one : cases) {
    std::printf("%-56s %12.1f %12.1f\n", one.name.c_str(), median(one.ns[0]), median(one.ns[1]));
  }
  publisher.close(std::chrono::milliseconds(0));
}
