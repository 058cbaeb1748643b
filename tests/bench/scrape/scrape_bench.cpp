// SPDX-License-Identifier: Apache-2.0
// What 100,000 counters with four labels cost: to merge their points, to be shown in both formats
// and compressed, to be saved before they are shown, and to be held; prometheus-cpp beside it.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <malloc.h>
#include <prometheus/counter.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <time.h>
#include <unistd.h>

#include "bus/aggregate/aggregate.hpp"
#include "bus/base/clock.hpp"
#include "bus/base/file.hpp"
#include "bus/http/gzip.hpp"
#include "bus/ledger/ledger.hpp"
#include "bus/metrics/own_metrics.hpp"
#include "tests/unit/ledger/envelopes.hpp"

namespace insight {
namespace {

constexpr size_t kPublishers = 50;
constexpr size_t kSeriesEach = 2'000;
constexpr size_t kSeries = kPublishers * kSeriesEach;
constexpr size_t kPointsPerBatch = 1'000;
constexpr int kRuns = 9;

double cpu_ms() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) * 1e-6;
}

size_t heap_bytes() { return mallinfo2().uordblks + mallinfo2().hblkhd; }

/// The median CPU time of several runs, in ms.
template <typename Work>
double median_ms(Work&& work) {
  std::vector<double> times;
  for (int i = 0; i < kRuns; ++i) {
    const double before = cpu_ms();
    work();
    times.push_back(cpu_ms() - before);
  }
  std::ranges::sort(times);
  return times[kRuns / 2];
}

std::vector<std::string> label_values(size_t publisher, size_t series) {
  return {"worker-" + std::to_string(publisher), "rollout",
          "/v1/chat/completions/" + std::to_string(series), series % 2 == 0 ? "200" : "500"};
}

const std::vector<std::string> kLabelKeys{"worker", "stage", "route", "code"};

struct Publishers {
  explicit Publishers(const std::shared_ptr<SeriesIds>& ids) {
    const auto family = std::make_shared<const Family>(
        Family{.name = "rl_requests_total", .label_keys = kLabelKeys, .help = "Requests"});
    for (size_t p = 0; p < kPublishers; ++p) {
      IncarnationId id;
      id.bytes[0] = static_cast<unsigned char>(p + 1);
      auto incarnation = std::make_shared<Incarnation>(id, 1, Resource{}, 10 * kSecond, ids);
      for (size_t s = 0; s < kSeriesEach; ++s) {
        const std::vector<std::string> values = label_values(p, s);
        const std::vector<std::string_view> views(values.begin(), values.end());
        series.push_back(&incarnation->add_series(family, views));
      }
      incarnations.push_back(std::move(incarnation));
    }
  }

  std::vector<std::shared_ptr<const Incarnation>> incarnations;
  std::vector<const Series*> series;
};

std::vector<std::unique_ptr<Batch>> make_batches(const Publishers& from) {
  std::vector<std::unique_ptr<Batch>> batches;
  for (size_t begin = 0; begin < kSeries; begin += kPointsPerBatch) {
    auto batch = std::make_unique<Batch>();
    Segment segment;
    segment.incarnation = from.incarnations[begin / kSeriesEach];
    segment.end = kPointsPerBatch;
    batch->segments.push_back(segment);
    for (size_t i = 0; i < kPointsPerBatch; ++i) {
      Point point;
      point.series = from.series[begin + i];
      point.value = static_cast<double>(begin + i);
      batch->points.push_back(point);
    }
    batches.push_back(std::move(batch));
  }
  return batches;
}

void bump(Batch& batch) {
  for (Point& point : batch.points) point.value += 1.5;
}

/// ns a point when each value has changed; the changing itself is not in it.
double apply_ns(Aggregate& aggregate, std::vector<std::unique_ptr<Batch>>& batches, size_t count,
                const Now& now) {
  std::vector<double> times;
  for (int run = 0; run < kRuns; ++run) {
    double spent = 0;
    size_t points = 0;
    while (points < kSeries) {
      for (size_t b = 0; b < count; ++b) {
        bump(*batches[b]);
        if (count == 1) {
          // One batch stays in the cache: time a block of repetitions, regressing never.
          const double before = cpu_ms();
          for (int i = 0; i < 50; ++i) aggregate.apply(*batches[b], now);
          spent += cpu_ms() - before;
          points += 50 * kPointsPerBatch;
        }
      }
      if (count == 1) continue;
      const double before = cpu_ms();
      for (size_t b = 0; b < count; ++b) aggregate.apply(*batches[b], now);
      spent += cpu_ms() - before;
      points += count * kPointsPerBatch;
    }
    times.push_back(spent * 1e6 / static_cast<double>(points));
  }
  std::ranges::sort(times);
  return times[kRuns / 2];
}

/// As the HTTP server does it, block by block; returns the bytes that are sent.
size_t gzip(const std::string& text) {
  GzipReader reader(text);
  std::vector<char> block(64 << 10);
  size_t bytes = 0;
  while (const size_t n = reader.read(block)) bytes += n;
  return bytes;
}

/// An exemplar for every point.
void give_exemplars(std::vector<std::unique_ptr<Batch>>& batches, const Now& now) {
  for (const auto& batch : batches) {
    for (Point& point : batch->points) {
      Exemplar& exemplar = batch->arena.take<Exemplar>(1)[0];
      exemplar = {.value = 0.25, .time_ns = now.wall_ns};
      exemplar.trace_id.fill(0xAB);
      exemplar.span_id.fill(0xCD);
      point.exemplar = &exemplar;
    }
  }
}

void bench_open_metrics(Aggregate& aggregate, std::vector<std::unique_ptr<Batch>>& batches,
                        const Now& now) {
  std::string text, open_metrics;
  const auto print = [](const char* what, const std::string& page, double ms) {
    std::printf("scrape: %-15s %5.1f MB         %8.1f ms\n", what,
                static_cast<double>(page.size()) * 1e-6, ms);
  };
  text = aggregate.render(now);
  size_t bytes = 0;
  const double gzip_ms = median_ms([&] { bytes = gzip(text); });
  std::printf("scrape: gzip of text, to %4.1f MB       %8.1f ms\n",
              static_cast<double>(bytes) * 1e-6, gzip_ms);
  double ms = median_ms([&] { open_metrics = aggregate.render(now, Exposition::open_metrics); });
  print("OpenMetrics,", open_metrics, ms);
  give_exemplars(batches, now);
  const size_t heap = heap_bytes();
  for (const auto& batch : batches) aggregate.apply(*batch, now);
  std::printf("memory: exemplar                      %8.0f B a series that has one\n",
              static_cast<double>(heap_bytes() - heap) / kSeries);
  ms = median_ms([&] { open_metrics = aggregate.render(now, Exposition::open_metrics); });
  print("with exemplars,", open_metrics, ms);
}

void bench_aggregate() {
  const Now now = read_clocks();
  const auto ids = std::make_shared<SeriesIds>();
  const size_t heap_start = heap_bytes();
  const Publishers publishers(ids);
  const size_t heap_model = heap_bytes();
  auto batches = make_batches(publishers);
  Aggregate aggregate({});
  const size_t heap_before = heap_bytes();
  const double first = cpu_ms();
  for (const auto& batch : batches) aggregate.apply(*batch, now);
  const double first_ms = cpu_ms() - first;
  const size_t heap_after = heap_bytes();

  std::printf("aggregate: first point of a series    %8.0f ns\n",
              first_ms * 1e6 / static_cast<double>(kSeries));
  std::printf("aggregate: point, 1,000 series        %8.1f ns\n",
              apply_ns(aggregate, batches, 1, now));
  std::printf("aggregate: point, 100,000 series      %8.1f ns\n",
              apply_ns(aggregate, batches, batches.size(), now));
  std::printf("memory: Series of its publisher       %8.0f B a live series\n",
              static_cast<double>(heap_model - heap_start) / kSeries);
  std::printf("memory: contribution + merged series  %8.0f B a live series\n",
              static_cast<double>(heap_after - heap_before) / kSeries);

  std::string text;
  const auto render = [&] {
    for (const auto& batch : batches) bump(*batch), aggregate.apply(*batch, now);
    const double before = cpu_ms();
    text = aggregate.render(now);
    return cpu_ms() - before;
  };
  std::vector<double> render_ms, save_ms, write_ms;
  const std::string path =
      (std::filesystem::temp_directory_path() / ("insight-bench-" + std::to_string(getpid())))
          .string();
  size_t snapshot_bytes = 0;
  for (int i = 0; i < kRuns; ++i) {
    render_ms.push_back(render());
    double before = cpu_ms();
    const std::string bytes = aggregate.save(now);
    save_ms.push_back(cpu_ms() - before);
    snapshot_bytes = bytes.size();
    before = cpu_ms();
    if (replace_file(path, bytes, Durability::process)) std::abort();
    write_ms.push_back(cpu_ms() - before);
  }
  std::filesystem::remove(path);
  for (auto* times : {&render_ms, &save_ms, &write_ms}) std::ranges::sort(*times);
  const size_t middle = kRuns / 2;
  std::printf("scrape: render, %5.1f MB               %8.1f ms\n",
              static_cast<double>(text.size()) * 1e-6, render_ms[middle]);
  std::printf("scrape: snapshot, %5.1f MB             %8.1f ms to make, %.1f ms to write\n",
              static_cast<double>(snapshot_bytes) * 1e-6, save_ms[middle], write_ms[middle]);
  std::printf("scrape: with snapshot                 %8.1f ms\n",
              render_ms[middle] + save_ms[middle] + write_ms[middle]);
  const std::string bytes = aggregate.save(now);
  std::printf("restart: load                         %8.1f ms\n", median_ms([&] {
                Aggregate other({});
                if (!other.load(bytes, now)) std::abort();
              }));
  bench_open_metrics(aggregate, batches, now);
}

/// The bus's own metrics, of which 1,000 publishers get series.
void bench_publishers() {
  constexpr uint64_t kMany = 90'000;
  Ledger ledger({}, std::make_shared<SeriesIds>());
  for (uint64_t i = 1; i <= kMany; ++i) {
    TestEnvelope envelope(i, 1);
    envelope.account("spans", 5).account("spans_sent", 5).account("bytes_sent", 500);
    ledger.receive(envelope.view, at_second(0));
  }
  Status status;
  status.now = at_second(1);
  status.collectors.emplace_back().publishers = ledger.lives();
  const auto scrape = [&](size_t limit) {
    return median_ms([&] {
      status.publishers = ledger.publishers(limit);
      if (render_own_metrics(status).empty()) std::abort();
    });
  };
  std::printf("scrape: own metrics of 90,000 publishers %5.1f ms; %.1f ms when all are copied\n",
              scrape(kMaxPublishersShown), scrape(SIZE_MAX));
}

void bench_prometheus_cpp() {
  const size_t heap_start = heap_bytes();
  prometheus::Registry registry;
  auto& family =
      prometheus::BuildCounter().Name("rl_requests_total").Help("Requests").Register(registry);
  for (size_t p = 0; p < kPublishers; ++p) {
    for (size_t s = 0; s < kSeriesEach; ++s) {
      const std::vector<std::string> values = label_values(p, s);
      prometheus::Labels labels;
      for (size_t i = 0; i < values.size(); ++i) labels.emplace(kLabelKeys[i], values[i]);
      family.Add(labels).Increment(static_cast<double>(p * kSeriesEach + s) + 1.5);
    }
  }
  std::printf("memory: prometheus-cpp                %8.0f B a series\n",
              static_cast<double>(heap_bytes() - heap_start) / kSeries);
  std::printf("scrape: prometheus-cpp                %8.1f ms\n", median_ms([&] {
                const prometheus::TextSerializer serializer;
                if (serializer.Serialize(registry.Collect()).empty()) std::abort();
              }));
}

}  // namespace
}  // namespace insight

int main() {
  insight::bench_aggregate();
  insight::bench_publishers();
  insight::bench_prometheus_cpp();
}
