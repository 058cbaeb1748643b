// SPDX-License-Identifier: Apache-2.0
// What one point costs on its way from the PUSH socket of a publisher to the merged series, and
// what the parts of that way cost: envelopes of 1,000 points with four labels, and of one point.  A
// bare PULL loop stands beside it.  Then the memory of series and of publishers that come and go.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <malloc.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bus/aggregate/aggregate.hpp"
#include "bus/base/clock.hpp"
#include "bus/collectors/intake.hpp"
#include "bus/collectors/zmq_collector.hpp"
#include "bus/transport/context.hpp"
#include "bus/transport/pull_socket.hpp"
#include "bus/transport/push_socket.hpp"
#include "bus/wire/decoder.hpp"
#include "bus/wire/encoder.hpp"

namespace insight {
namespace {

using namespace std::chrono_literals;

constexpr int kRuns = 3;
constexpr size_t kSeries = 1'000;

double cpu_ns(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

size_t heap_bytes() { return mallinfo2().uordblks + mallinfo2().hblkhd; }

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

IncarnationId id_of(uint64_t n) {
  IncarnationId id;
  id.bytes.fill(static_cast<unsigned char>(n >> 56 | 1));
  std::copy_n(reinterpret_cast<const unsigned char*>(&n), sizeof n, id.bytes.begin());
  return id;
}

std::string packed_resource() {
  Resource resource;
  for (const char* key : {"host.name", "process.pid", "rank", "replica", "role", "run"}) {
    resource.attributes.emplace_back(key, std::string("value-of-") + key);
  }
  return wire::encode_resource(resource);
}

std::string packed_family() {
  Family family;
  family.name = "engine_requests_total";
  family.label_keys = {"worker", "stage", "route", "code"};
  return wire::encode_family(family);
}

std::string packed_labels(size_t series) {
  const std::string route = "/v1/chat/completions/" + std::to_string(series);
  const std::vector<std::string_view> values{"worker-7", "rollout", route,
                                             series % 2 == 0 ? "200" : "500"};
  return wire::encode_labels(values);
}

/// `count` envelopes of one publisher, each with `points` points.
std::vector<std::string> envelopes(uint64_t publisher, size_t count, size_t points) {
  const std::string resource = packed_resource();
  const std::string family = packed_family();
  std::vector<std::string> labels;
  for (size_t i = 0; i < kSeries; ++i) labels.push_back(packed_labels(i));
  wire::EnvelopeWriter writer;
  wire::EnvelopeHead head;
  head.inc = id_of(publisher);
  head.t0_ns = wall_now_ns();
  head.resource = resource;
  std::vector<std::string> messages;
  size_t next = 0;
  for (size_t i = 0; i < count; ++i) {
    head.seq = i + 1;
    writer.start(head);
    writer.family(family);
    for (size_t p = 0; p < points; ++p) {
      writer.point(labels[next++ % kSeries], static_cast<double>(i + 1));
    }
    messages.emplace_back(writer.finish(read_clocks()));
  }
  return messages;
}

class Forget final : public BatchReceiver {
 public:
  void receive(std::shared_ptr<const Batch>) noexcept override {}
};

class Merge final : public BatchReceiver {
 public:
  void receive(std::shared_ptr<const Batch> batch) noexcept override {
    (void)aggregate_.apply(*batch, read_clocks());
  }

 private:
  Aggregate aggregate_{AggregateOptions{}};
};

void report(const char* what, size_t points, double ns) {
  std::printf("%5zu points an envelope: %-46s %8.1f ns a point\n", points, what, ns);
}

/// CPU time of this thread per point, over all but the first tenth of the messages.
double time_messages(const std::vector<std::string>& messages, size_t points,
                     const std::function<void(std::string_view, size_t)>& take) {
  const size_t warm = messages.size() / 10;
  double start = 0;
  for (size_t i = 0; i < messages.size(); ++i) {
    if (i == warm) start = cpu_ns(CLOCK_THREAD_CPUTIME_ID);
    take(messages[i], i);
  }
  return (cpu_ns(CLOCK_THREAD_CPUTIME_ID) - start) /
         static_cast<double>((messages.size() - warm) * points);
}

void bench_parts(const std::vector<std::string>& messages, size_t points) {
  // As many messages together as a busy collector takes.
  const size_t together = points > 1 ? 20 : 256;
  std::vector<double> decode, intake_only, merged;
  for (int run = 0; run < kRuns; ++run) {
    wire::Decoder decoder;
    const uint64_t wall_ns = wall_now_ns();
    decode.push_back(time_messages(messages, points, [&](std::string_view message, size_t) {
      if (!decoder.decode(message, wall_ns)) std::abort();
    }));
    const auto with = [&](BatchReceiver& out) {
      Intake intake({}, {}, std::make_shared<SeriesIds>());
      return time_messages(messages, points, [&](std::string_view message, size_t i) {
        intake.take(message, read_clocks());
        if (i % together == 0) intake.deliver(out);
      });
    };
    Forget forget;
    intake_only.push_back(with(forget));
    Merge merge;
    merged.push_back(with(merge));
  }
  report("decode", points, median(decode));
  report("intake: decode, book, resolve, batch", points, median(intake_only));
  report("intake and merge", points, median(merged));
}

/// Sends all messages from a process of its own and calls `receive` with the endpoint; the CPU time
/// of this process (its I/O thread too) per point.
double time_transport(const std::vector<std::string>& messages, size_t points,
                      const std::function<void(size_t)>& receive, const Endpoint& endpoint) {
  const pid_t child = fork();
  if (child == 0) {
    transport::Context context;
    transport::PushSocket socket(context, endpoint);
    socket.set_linger(60s);
    for (const std::string& message : messages) {
      while (socket.send(message) != transport::SendResult::accepted) {
        socket.wait(100ms, -1, transport::PushSocket::WaitFor::events_or_room);
      }
    }
    // The sockets must close before the context, and the process must not run what fork() copied.
    socket.~PushSocket();
    context.~Context();
    _exit(0);
  }
  const double start = cpu_ns(CLOCK_PROCESS_CPUTIME_ID);
  receive(messages.size());
  const double used = cpu_ns(CLOCK_PROCESS_CPUTIME_ID) - start;
  waitpid(child, nullptr, 0);
  return used / static_cast<double>(messages.size() * points);
}

void bench_transport(const std::vector<std::string>& messages, size_t points) {
  Endpoint any;
  any.host = "127.0.0.1";
  std::vector<double> bare, whole;
  for (int run = 0; run < kRuns; ++run) {
    {
      transport::Context context;
      transport::PullSocket pull(context);
      const Endpoint bound = pull.bind(any).value();
      bare.push_back(time_transport(
          messages, points,
          [&](size_t count) {
            while (count > 0) {
              pull.wait(250ms);
              while (pull.receive()) --count;
            }
          },
          bound));
    }
    ZmqCollector collector({.name = "bench", .endpoints = {any}}, std::make_shared<SeriesIds>(),
                           Logger::none());
    collector.open();
    Merge merge;
    const Endpoint bound = parse_endpoint(collector.stats().endpoints[0]).value();
    whole.push_back(time_transport(
        messages, points,
        [&](size_t count) {
          std::jthread thread([&](const std::stop_token& stop) { collector.run(merge, stop); });
          while (collector.stats().envelopes[0] < count) usleep(2'000);
        },
        bound));
  }
  report("bare PULL loop, tcp", points, median(bare));
  report("collector and merge, tcp: PUSH to merged", points, median(whole));
}

void bench_memory() {
  constexpr size_t kPublishers = 50;
  constexpr size_t kEach = 1'000;
  Forget forget;
  {
    Intake intake({}, {}, std::make_shared<SeriesIds>());
    const size_t before = heap_bytes();
    for (uint64_t n = 1; n <= kPublishers; ++n) {
      for (const std::string& message : envelopes(n, 1, kEach)) intake.take(message, read_clocks());
      intake.deliver(forget);
    }
    std::printf("memory: a series with four labels at its collector %12zu B\n",
                (heap_bytes() - before) / (kPublishers * kEach));
  }
  {
    constexpr size_t kMany = 20'000;
    Intake intake({}, {}, std::make_shared<SeriesIds>());
    const size_t before = heap_bytes();
    for (uint64_t n = 1; n <= kMany; ++n) {
      for (const std::string& message : envelopes(n, 1, 0)) intake.take(message, read_clocks());
    }
    std::printf("memory: a publisher without series                 %12zu B\n",
                (heap_bytes() - before) / kMany);
  }
  Intake intake({.series = 20'000}, {}, std::make_shared<SeriesIds>());
  size_t most = 0;
  const size_t before = heap_bytes();
  double used = 0;
  for (uint64_t n = 1; n <= 10'000; ++n) {
    wire::EnvelopeHead head;
    const std::string resource = packed_resource();
    head.inc = id_of(n);
    head.seq = 2;
    head.resource = resource;
    head.life = wire::LifeEvent::bye;
    wire::EnvelopeWriter writer;
    writer.start(head);
    const auto messages = envelopes(n, 1, 20);
    const std::string bye(writer.finish(read_clocks()));
    const double start = cpu_ns(CLOCK_THREAD_CPUTIME_ID);
    intake.take(messages[0], read_clocks());
    intake.take(bye, read_clocks());
    intake.deliver(forget);
    used += cpu_ns(CLOCK_THREAD_CPUTIME_ID) - start;
    most = std::max(most, heap_bytes() - before);
  }
  std::printf(
      "memory: 10,000 publishers of 20 series come and go, limit 20,000 series: %.1f MB at most, "
      "%.1f us each\n",
      static_cast<double>(most) / 1e6, used / 1e4 / 1e3);
}

}  // namespace
}  // namespace insight

int main() {
  for (const size_t points : {size_t{1'000}, size_t{1}}) {
    const auto messages = insight::envelopes(1, points > 1 ? 1'000 : 50'000, points);
    insight::bench_parts(messages, points);
    insight::bench_transport(messages, points);
  }
  insight::bench_memory();
}
