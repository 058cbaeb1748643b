// SPDX-License-Identifier: Apache-2.0
// What every sink must do, whatever its backend: bus/pipeline/sink.hpp.  No backend runs here, so a
// sink that needs one answers with an exception from open() and with retry from write().
#include <array>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "bus/base/clock.hpp"
#include "bus/base/text.hpp"
#include "bus/pipeline/sink_plugin.hpp"
#include "bus/pipeline/sink_worker.hpp"
#include "tests/support/preset_config.hpp"
#include "tests/support/records.hpp"
#include "tests/support/temporary_directory.hpp"

using namespace insight;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// A sink with the presets of its plugin.
struct Bench {
  explicit Bench(const SinkPlugin& plugin) : config(plugin) {
    const SinkSettings settings{
        .log = Logger::none(),
        .state_directory = state.path(),
        .resource_labels = {"run"},
        .add_metrics_view = [this](MetricsView& view) { views.push_back(&view); }};
    sink = plugin.create(config, settings);
    CHECK(config.wrong_keys.empty());
  }

  /// False when the backend is not there.
  bool open() {
    try {
      sink->open();
      return true;
    } catch (const std::runtime_error& e) {
      CHECK(std::string_view(e.what()) != "");
      return false;
    }
  }

  test::TemporaryDirectory state;
  test::PresetConfig config;
  std::vector<MetricsView*> views;
  std::unique_ptr<Sink> sink;
};

/// Batches of each kind of record, ordinary and at the edge of what the decoder lets through.
class Records {
 public:
  Records() {
    const std::vector<std::string> keys{"k"};
    add({.name = "c_total", .kind = Kind::counter, .label_keys = keys}, {"v"}, {.value = 1});
    add({.name = "d_total", .kind = Kind::counter, .delta = true}, {}, {.value = 2});
    add({.name = "g", .kind = Kind::gauge}, {}, {.value = kNan});
    add({.name = "g2", .kind = Kind::gauge, .merge = GaugeMode::each}, {},
        {.value = -std::numeric_limits<double>::infinity()});
    add({.name = "h", .kind = Kind::histogram, .bounds = {1, 2}}, {}, {.histogram = &histogram_});
    add({.name = "e", .kind = Kind::exphist}, {}, {.exponential = &exponential_});
    add({.name = "bad name {}\n",
         .kind = Kind::gauge,
         .label_keys = keys,
         .unit = "\"",
         .help = "\\\n"},
        {"\"\\\n"}, {.value = 1, .exemplar = &exemplar_});
    add({.name = "g", .kind = Kind::counter}, {}, {.value = 1});  // another kind than before

    const std::shared_ptr<Batch> spans = source_.batch(Signal::spans, 4);
    for (size_t i = 0; i < 4; ++i) {
      Span& span = spans->spans[i];
      span = {
          .what = static_cast<SpanWhat>(i), .name = "\"", .start_ns = 1, .attributes = attributes_};
      span.events = events_;
      span.links = links_;
    }
    batches_.push_back(spans);
    batches_.push_back(source_.batch(Signal::metrics, 0));
    batches_.push_back(source_.batch(Signal::spans, 0));
  }

  const std::vector<std::shared_ptr<Batch>>& batches() const { return batches_; }

 private:
  void add(Family family, const std::vector<std::string_view>& labels, Point point) {
    point.series = &source_.series(std::move(family), labels);
    point.time_ns = 1;
    const std::shared_ptr<Batch> batch = source_.batch(Signal::metrics, 1);
    batch->points[0] = point;
    batches_.push_back(batch);
  }

  test::Source source_{Resource{{{"rank", int64_t{1}}, {"run", std::string("a\"b")}}}};
  std::array<uint64_t, 3> buckets_{1, 0, 2};
  HistogramValue histogram_{.count = 3, .sum = kNan, .buckets = buckets_};
  ExpHistogramValue exponential_{.count = 1, .zero_count = 1};
  Exemplar exemplar_{.value = 1, .time_ns = 2};
  std::array<Attribute, 2> attributes_{{{"text", std::string_view("\n")}, {"nan", kNan}}};
  std::array<SpanEvent, 1> events_{{{1, "event", attributes_}}};
  std::array<SpanLink, 1> links_{};
  std::vector<std::shared_ptr<Batch>> batches_;
};

bool takes(const SinkPlugin& plugin, Signal signal) {
  for (const Signal one : plugin.signals) {
    if (one == signal) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("close is safe without open, and twice") {
  for (const SinkPlugin* plugin : sink_plugins()) {
    CAPTURE(plugin->name);
    Bench never_opened(*plugin);
    never_opened.sink->close();
    never_opened.sink->close();

    Bench opened(*plugin);
    opened.open();
    opened.sink->close();
    opened.sink->close();
    CHECK_NOTHROW((void)opened.sink->status());
  }
}

TEST_CASE("every kind of record is answered, and never more is dropped than was given") {
  for (const SinkPlugin* plugin : sink_plugins()) {
    CAPTURE(plugin->name);
    const Records records;
    Bench bench(*plugin);
    const bool is_open = bench.open();
    // Twice, as after a retry whose first try had come through.
    for (int round = 0; round < 2 && is_open; ++round) {
      for (const std::shared_ptr<Batch>& batch : records.batches()) {
        if (!takes(*plugin, batch->signal)) continue;
        const Delivery delivery = bench.sink->write(*batch);

        uint64_t dropped = 0;
        for (const uint64_t n : delivery.dropped) dropped += n;
        CHECK(dropped <= batch->records());
        CHECK((delivery.outcome == Delivery::Outcome::accepted) == delivery.error.empty());
        if (delivery.outcome != Delivery::Outcome::accepted) CHECK(dropped == 0);
        CHECK_NOTHROW(bench.sink->idle(read_clocks()));
      }
      CHECK_NOTHROW(bench.sink->flush());
    }
    bench.sink->close();
  }
}

TEST_CASE("a sink whose first open failed, or which was closed, opens again") {
  for (const SinkPlugin* plugin : sink_plugins()) {
    CAPTURE(plugin->name);
    Bench bench(*plugin);
    const bool first = bench.open();
    bench.sink->close();

    CHECK(bench.open() == first);
    bench.sink->close();
  }
}

TEST_CASE("flush and idle do no harm when nothing was written") {
  for (const SinkPlugin* plugin : sink_plugins()) {
    CAPTURE(plugin->name);
    Bench bench(*plugin);
    if (!bench.open()) continue;

    CHECK_NOTHROW(bench.sink->idle(read_clocks()));
    CHECK_NOTHROW(bench.sink->flush());

    bench.sink->close();
  }
}

TEST_CASE("the page of a sink answers before open, after close, and while batches come") {
  for (const SinkPlugin* plugin : sink_plugins()) {
    CAPTURE(plugin->name);
    const Records records;
    Bench bench(*plugin);
    const auto ask = [&] {
      for (MetricsView* view : bench.views) {
        for (const Exposition exposition : {Exposition::text, Exposition::open_metrics}) {
          CHECK_NOTHROW((void)view->page(exposition));
        }
      }
    };

    ask();
    if (bench.open()) {
      for (const std::shared_ptr<Batch>& batch : records.batches()) {
        if (takes(*plugin, batch->signal)) (void)bench.sink->write(*batch);
        ask();
      }
    }
    bench.sink->close();
    ask();
  }
}

TEST_CASE("a sink that survived its worker's life left nothing uncounted") {
  for (const SinkPlugin* plugin : sink_plugins()) {
    CAPTURE(plugin->name);
    const Records records;
    Bench bench(*plugin);
    SinkWorkerOptions options;
    options.name = plugin->name;
    for (bool& is_taken : options.signals) is_taken = false;
    for (const Signal signal : plugin->signals) options.signals[static_cast<size_t>(signal)] = true;
    SinkWorker worker(std::move(bench.sink), options, Logger::none());
    worker.start();

    uint64_t offered = 0;
    for (const std::shared_ptr<Batch>& batch : records.batches()) {
      worker.offer(batch);
      if (takes(*plugin, batch->signal)) offered += batch->records();
    }
    CHECK(worker.stop(std::chrono::seconds(60)));

    const SinkSnapshot snapshot = worker.snapshot();
    uint64_t known = 0;
    for (size_t i = 0; i < kSignalCount; ++i) {
      known += snapshot.delivered[i];
      for (const uint64_t n : snapshot.dropped[i]) known += n;
    }
    CHECK(known == offered);
  }
}

TEST_CASE("the table of sinks is what people read of it") {
  std::set<std::string_view> names;
  for (const SinkPlugin* plugin : sink_plugins()) {
    CAPTURE(plugin->name);
    CHECK(names.insert(plugin->name).second);
    CHECK_FALSE(plugin->signals.empty());
    CHECK(plugin->sample_config.starts_with("[sinks." + std::string(plugin->name) + "]\n"));
    for (const ConfigKey& key : plugin->keys) {
      CAPTURE(key.name);
      const std::string_view last = key.name.substr(key.name.rfind('.') + 1);
      CHECK(plugin->sample_config.find(last) != std::string_view::npos);
      CHECK_FALSE(key.help.empty());
    }
  }
  CHECK(names.contains("null"));
}

TEST_CASE("every preset has the type of its key") {
  for (const SinkPlugin* plugin : sink_plugins()) {
    CAPTURE(plugin->name);
    const test::PresetConfig config(*plugin);
    for (const ConfigKey& key : plugin->keys) {
      CAPTURE(key.name);
      if (key.preset.empty()) continue;
      if (key.type == "size") CHECK_NOTHROW((void)config.size_bytes(key.name));
      if (key.type == "duration") CHECK_NOTHROW((void)config.duration_ns(key.name));
      if (key.type == "integer") CHECK_NOTHROW((void)config.integer(key.name));
      if (key.type == "number") CHECK_NOTHROW((void)config.number(key.name));
      if (key.type == "boolean") CHECK((key.preset == "true" || key.preset == "false"));
    }
  }
}
