// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "bus/base/http_message.hpp"
#include "bus/base/mutex.hpp"
#include "bus/broker/tap.hpp"
#include "bus/metrics/status.hpp"
#include "bus/pipeline/collector.hpp"

namespace insight {

/// Hands batches on, and to those who look at live records.  Thread-safe.
///
/// While nobody looks it costs one relaxed load for each batch, and there is no thread.
class Taps final : public BatchReceiver {
 public:
  explicit Taps(BatchReceiver& next) : next_(next) {}

  ~Taps() override { stop(); }

  Taps(const Taps&) = delete;
  Taps& operator=(const Taps&) = delete;

  static constexpr size_t kMaxTaps = 8;

  void receive(std::shared_ptr<const Batch> batch) noexcept override;

  /// Opens a tap: an answer that goes on.  400 for a query that is wrong, 503 beyond the limit and
  /// when the broker stops.
  HttpResponse open(const HttpRequest& request) INSIGHT_EXCLUDES(mutex_);

  /// Ends all taps, with their last line, and opens no more.
  void stop() noexcept INSIGHT_EXCLUDES(mutex_);

  TapStats stats() const INSIGHT_EXCLUDES(mutex_);

 private:
  void offer(const std::shared_ptr<const Batch>& batch) noexcept INSIGHT_EXCLUDES(mutex_);
  void run();
  bool step() INSIGHT_EXCLUDES(mutex_);
  static Tap::State step(Tap& tap, const Now& now);
  void forget(const Tap& tap) INSIGHT_REQUIRES(mutex_);

  // Constant after construction.
  BatchReceiver& next_;

  // Pairs with nothing: who misses the change by a batch has looked a moment too early.
  std::atomic<size_t> open_{0};
  mutable Mutex mutex_;
  Condition stopped_;
  bool is_stopping_ INSIGHT_GUARDED_BY(mutex_) = false;
  bool is_running_ INSIGHT_GUARDED_BY(mutex_) = false;
  std::vector<std::shared_ptr<Tap>> taps_ INSIGHT_GUARDED_BY(mutex_);
  TapStats ended_ INSIGHT_GUARDED_BY(mutex_);  // of those that are not open any more
  std::jthread thread_;                        // open() and stop() only
};

}  // namespace insight
