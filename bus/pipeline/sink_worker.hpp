// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>

#include "bus/base/backoff.hpp"
#include "bus/base/clock.hpp"
#include "bus/base/log.hpp"
#include "bus/base/mutex.hpp"
#include "bus/model/batch.hpp"
#include "bus/pipeline/sink.hpp"
#include "bus/pipeline/stats.hpp"

namespace insight {

/// What a full queue gives up.  Metrics are state, so the newest is worth most; of spans each one
/// is worth as much as the next, and keeping the oldest costs no work.
enum class WhenFull : uint8_t { drop_oldest, drop_newest };

struct SinkWorkerOptions {
  std::string name;
  std::string type;
  std::array<bool, kSignalCount> signals{true, true};
  uint64_t queue_bytes = 64 << 20;  ///< of each signal
  std::array<WhenFull, kSignalCount> when_full{WhenFull::drop_oldest, WhenFull::drop_newest};
  uint64_t retry_initial_ns = kSecond;
  uint64_t retry_max_ns = 30 * kSecond;
  uint64_t retry_give_up_after_ns = 600 * kSecond;
  uint64_t seed = 0;  ///< of the jitter
};

/// One sink's bounded queues, retry, counters and thread.  Its work is step(); the thread only
/// loops over it.
///
/// For each signal, at any moment: received = delivered + dropped (by reason) + queued.
class SinkWorker {
 public:
  SinkWorker(std::unique_ptr<Sink> sink, SinkWorkerOptions options, const Logger& log);
  ~SinkWorker();

  /// Takes a batch over, or drops by policy.  Thread-safe, never blocks on the sink.
  void offer(std::shared_ptr<const Batch> batch) noexcept;

  /// Does what is due now: opens, writes one batch, retries, calls idle.  Returns the monotonic
  /// time at which it wants to be called again at the latest (at once when something waits).  One
  /// thread only.
  uint64_t step(const Now& now);

  /// Starts the thread `sink:<name>`.
  void start();

  /// True when everything offered before this call was written or dropped, and the sink made it
  /// durable. False at the deadline.  Thread-safe; needs the thread.
  bool checkpoint(std::chrono::nanoseconds timeout);

  /// Lets the thread write what waits until the deadline, then flush, close and end.  What is left
  /// over is counted `stopped`.  False when the sink hangs: then the thread is still inside of it.
  bool stop(std::chrono::nanoseconds timeout);

  SinkSnapshot snapshot() const;  ///< Thread-safe.
  const std::string& name() const noexcept;
  Sink& sink() noexcept;

  // members: to be written
};

}  // namespace insight
