// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bus/base/mutex.hpp"
#include "bus/metrics/status.hpp"
#include "bus/pipeline/collector.hpp"

namespace insight {

/// Hands batches on and remembers when publishers last said that some work of theirs goes on
/// (`insight_progress_timestamp_seconds`).  Thread-safe.
class ProgressWatch final : public BatchReceiver {
 public:
  explicit ProgressWatch(BatchReceiver& next) : next_(next) {}

  void receive(std::shared_ptr<const Batch> batch) noexcept override;

  /// The ages, of publishers that are alive or late.
  std::vector<ProgressAge> ages(uint64_t mono_ns) INSIGHT_EXCLUDES(mutex_);

 private:
  struct Tick {
    double timestamp_seconds = 0;  // on the publisher's clock
    double age_seconds = 0;        // when it was sent, on the same clock
    uint64_t received_mono_ns = 0;
  };

  struct Watched {
    std::shared_ptr<const Incarnation> incarnation;
    std::map<std::string, Tick, std::less<>> ticks;
  };

  void note(const Segment& segment, const Point& point) INSIGHT_EXCLUDES(mutex_);

  // Constant after construction.
  BatchReceiver& next_;

  Mutex mutex_;
  std::map<const Incarnation*, Watched> watched_ INSIGHT_GUARDED_BY(mutex_);
  size_t count_ INSIGHT_GUARDED_BY(mutex_) = 0;
};

}  // namespace insight
