// SPDX-License-Identifier: Apache-2.0
#include "sinks/prometheus/prometheus_sink.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <optional>
#include <stdexcept>
#include <utility>

#include <unistd.h>

#include "bus/base/clock.hpp"
#include "bus/base/file.hpp"
#include "bus/pipeline/sink_plugin.hpp"
#include "sinks/prometheus_sample.hpp"

namespace insight {

namespace {

/// How long a scrape waits for a worker that holds a lock; a hanging disk can hold it for ever.
constexpr std::chrono::seconds kPatience{2};
constexpr const char* kBusy = "the sink is busy; try again";

/// So much may be lost with the machine; with the process nothing is.
constexpr uint64_t kSyncPeriod = 10 * kSecond;

}  // namespace

struct PrometheusSink::Image {
  std::string bytes;
  uint64_t revision = 0;
};

PrometheusSink::PrometheusSink(PrometheusSinkOptions options, const Logger& log)
    : options_(std::move(options)), log_(log), aggregate_(options_.aggregate) {}

void PrometheusSink::open() {
  const Lock lock(mutex_);
  if (is_open_) return;
  if (options_.snapshot_path.empty()) {
    log_.info("sink " + options_.name + ": no snapshot, so totals begin at 0 with the process");
  } else {
    load();
  }
  is_open_ = true;
}

void PrometheusSink::load() {
  const std::string& path = options_.snapshot_path;
  if (access(path.c_str(), F_OK) != 0 && errno == ENOENT) return;
  std::string error;
  if (const Result<std::string> bytes = read_file(path)) {
    const Result<uint64_t> series = aggregate_.load(*bytes, read_clocks());
    if (series) {
      log_.info("sink " + options_.name + ": " + std::to_string(*series) +
                " series continue from " + path);
      return;
    }
    error = path + ": " + series.error().message;
  } else {
    error = bytes.error().message;
  }
  const std::string aside = path + ".unreadable";
  const bool is_moved = std::rename(path.c_str(), aside.c_str()) == 0;
  log_.error("sink " + options_.name + ": cannot read the snapshot, so totals begin at 0: " +
             error + (is_moved ? "; it is now " + aside : ""));
}

Delivery PrometheusSink::write(const Batch& batch) {
  const Lock lock(mutex_);
  Delivery delivery;
  delivery.dropped = aggregate_.apply(batch, read_clocks());
  return delivery;
}

void PrometheusSink::flush() {
  if (options_.snapshot_path.empty()) return;
  const Now now = read_clocks();
  const Lock file_lock(file_mutex_);
  const std::string error = store(take_image(now, written_revision_), false, now);
  if (!error.empty()) throw std::runtime_error("the snapshot cannot be written: " + error);
}

void PrometheusSink::idle(const Now& now) {
  {
    const Lock lock(mutex_);
    aggregate_.step(now);
  }
  if (options_.snapshot_path.empty()) return;
  const Lock file_lock(file_mutex_);
  if (now.mono_ns - synced_mono_ns_ < kSyncPeriod) return;
  (void)store(take_image(now, synced_revision_), true, now);
}

/// The snapshot as of now; without bytes when it is still of revision `known`.
PrometheusSink::Image PrometheusSink::take_image(const Now& now, uint64_t known) {
  const Lock lock(mutex_);
  Image image{.bytes = {}, .revision = aggregate_.revision()};
  if (image.revision != known) image.bytes = aggregate_.save(now);
  return image;
}

/// Writes an image; what went wrong, or nothing.
std::string PrometheusSink::store(const Image& image, bool to_disk, const Now& now) {
  if (image.bytes.empty()) return {};
  const auto durability = to_disk ? Durability::machine : Durability::process;
  const std::optional<Error> error = replace_file(options_.snapshot_path, image.bytes, durability);
  if (error) {
    note_failure(error->message, now);
    return error->message;
  }
  set_problem({});
  snapshot_bytes_.store(image.bytes.size(), std::memory_order_relaxed);
  written_revision_ = image.revision;
  if (to_disk) {
    synced_revision_ = image.revision;
    synced_mono_ns_ = now.mono_ns;
  }
  return {};
}

void PrometheusSink::note_failure(const std::string& error, const Now& now) {
  snapshot_failures_.fetch_add(1, std::memory_order_relaxed);
  const std::string problem =
      "the snapshot cannot be written, so counters may fall when the bus is killed: " + error;
  set_problem(problem);
  uint64_t held_back = 0;
  if (!failure_limit_.allows(now.mono_ns, held_back)) return;
  log_.warn("sink " + options_.name + ": " + problem + " (" + std::to_string(held_back) +
            " times before)");
}

void PrometheusSink::set_problem(std::string problem) {
  const Lock lock(mutex_);
  problem_ = std::move(problem);
}

Result<std::string> PrometheusSink::page(Exposition exposition) {
  const bool has_file = !options_.snapshot_path.empty();
  Lock file_lock(file_mutex_, std::defer_lock);
  if (has_file && !file_lock.try_lock_for(kPatience)) {
    snapshot_failures_.fetch_add(1, std::memory_order_relaxed);
  }
  Lock lock(mutex_, std::defer_lock);
  if (!lock.try_lock_for(kPatience)) return Error{kBusy};
  if (!is_open_) return std::string();
  const Now now = read_clocks();
  std::string text = aggregate_.render(now, exposition);
  lock.unlock();

  // What is shown is in the file first.  A file that cannot be written costs the guarantee over a
  // kill, not the scrape.
  if (file_lock.owns_lock()) (void)store(take_image(now, written_revision_), false, now);
  return text;
}

Result<MetricList> PrometheusSink::list(const MetricQuery& query) {
  const Lock lock(mutex_, kPatience);
  if (!lock.owns_lock()) return Error{kBusy};
  return aggregate_.list(query, read_clocks());
}

Result<MetricAnswer> PrometheusSink::explain(const std::string& name) {
  const Lock lock(mutex_, kPatience);
  if (!lock.owns_lock()) return Error{kBusy};
  return aggregate_.explain(name, read_clocks());
}

SinkStatus PrometheusSink::status() const {
  SinkStatus status;
  const Lock lock(mutex_, kPatience);
  if (!lock.owns_lock()) return status;
  AggregateStatus now = aggregate_.status();
  status.refusals = std::move(now.refusals);
  status.problem = problem_;
  status.figures = {
      {"series", now.series},
      {"series_limit", options_.aggregate.series},
      {"dormant", now.dormant},
      {"incarnations", now.incarnations},
      {"tombstones", now.tombstones},
      {"resync", now.resyncs},
      {"exemplars", now.exemplars},
      {"exemplars_dropped", now.exemplars_dropped},
      {"snapshot_bytes", snapshot_bytes_.load(std::memory_order_relaxed)},
      {"snapshot_failures", snapshot_failures_.load(std::memory_order_relaxed)},
  };
  for (const auto& [metric, series] : now.largest_metrics) {
    status.figures["series." + metric] = series;
  }
  return status;
}

namespace {

constexpr std::array<ConfigKey, 4> kKeys{{
    {"created", "boolean", "false",
     "OpenMetrics says of each counter and histogram since when it counts (x_created)"},
    {"gauge_linger", "duration", "60s", "a gauge is shown for so long after its publisher's bye"},
    {"keep_ended", "duration", "1h",
     "totals of a publisher that ended or was lost are folded into their series after so long"},
    {"snapshot", "boolean", "true",
     "write what is shown to the state directory, so that no counter falls with a restart"},
}};
constexpr std::array<Signal, 1> kSignals{Signal::metrics};

std::string snapshot_path(const SinkConfig& config, const SinkSettings& settings) {
  if (!config.flag("snapshot") || settings.state_directory.empty()) return {};
  std::string name(config.name());
  std::ranges::replace(name, '/', '_');
  return settings.state_directory + "/prometheus-" + name + ".snapshot";
}

std::unique_ptr<Sink> create(const SinkConfig& config, const SinkSettings& settings) {
  PrometheusSinkOptions options;
  options.name = config.name();
  options.snapshot_path = snapshot_path(config, settings);
  AggregateOptions& aggregate = options.aggregate;
  aggregate.resource_labels = settings.resource_labels;
  aggregate.reserved_metrics = settings.reserved_metrics;
  aggregate.series = settings.series_limit;
  aggregate.series_per_metric = settings.series_per_metric_limit;
  aggregate.created = config.flag("created");
  aggregate.gauge_linger_ns = config.duration_ns("gauge_linger");
  aggregate.keep_ended_ns = config.duration_ns("keep_ended");
  if (aggregate.keep_ended_ns < aggregate.gauge_linger_ns) {
    config.wrong("keep_ended", "at least as long as gauge_linger");
  }
  auto sink = std::make_unique<PrometheusSink>(std::move(options), settings.log);
  settings.add_metrics_view(*sink);
  return sink;
}

}  // namespace

extern constinit const SinkPlugin prometheus_sink_plugin{
    .name = "prometheus",
    .sample_config = prometheus_sample_config,
    .keys = kKeys,
    .signals = kSignals,
    .create = create,
};

}  // namespace insight
