// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>

#include "bus/aggregate/aggregate.hpp"
#include "bus/base/log.hpp"
#include "bus/pipeline/metrics_view.hpp"
#include "bus/pipeline/sink.hpp"

namespace insight {

struct PrometheusSinkOptions {
  std::string name = "prometheus";
  AggregateOptions aggregate;
  std::string snapshot_path;  ///< empty: totals live as long as the process
};

/// Shows merged series on /metrics, and writes what it shows to a file first: an exported counter
/// never falls, also over a kill of the process.
///
/// page() and status() are thread-safe; the rest belongs to the sink's worker.
class PrometheusSink final : public Sink, public MetricsView {
 public:
  PrometheusSink(PrometheusSinkOptions options, const Logger& log);

  void open() override;
  Delivery write(const Batch& batch) override;
  /// Writes the snapshot when something changed; throws when it cannot.
  void flush() override;
  void idle(const Now& now) override;

  void close() noexcept override {}

  SinkStatus status() const override;

  /// Empty before open(); an error when the aggregate stays locked.
  Result<std::string> page(Exposition exposition) override;
  Result<MetricList> list(const MetricQuery& query) override;
  Result<MetricAnswer> explain(const std::string& name) override;

 private:
  using Lock = std::unique_lock<std::timed_mutex>;
  struct Image;  ///< bytes of a snapshot, and the revision that they are of

  void load();
  Image take_image(const Now& now, uint64_t known);
  std::string store(const Image& image, bool to_disk, const Now& now);
  void note_failure(const std::string& error, const Now& now);
  void set_problem(std::string problem);

  // Constant after construction.
  const PrometheusSinkOptions options_;
  const Logger& log_;

  /// Held while a snapshot is taken and written, so that an older one never replaces a newer one.
  /// Taken before mutex_.
  std::timed_mutex file_mutex_;
  // Guarded by file_mutex_.
  uint64_t written_revision_ = 0;
  uint64_t synced_revision_ = 0;
  uint64_t synced_mono_ns_ = 0;
  LogLimit failure_limit_{60 * kSecond};

  mutable std::timed_mutex mutex_;
  // Guarded by mutex_.
  Aggregate aggregate_;
  bool is_open_ = false;
  std::string problem_;

  std::atomic<uint64_t> snapshot_bytes_{0};
  std::atomic<uint64_t> snapshot_failures_{0};
};

}  // namespace insight
