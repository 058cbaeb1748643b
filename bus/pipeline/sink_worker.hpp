// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "bus/base/backoff.hpp"
#include "bus/base/clock.hpp"
#include "bus/base/log.hpp"
#include "bus/base/mutex.hpp"
#include "bus/model/batch.hpp"
#include "bus/pipeline/signal_queue.hpp"
#include "bus/pipeline/sink.hpp"
#include "bus/pipeline/stats.hpp"
#include "bus/pipeline/transform.hpp"

namespace insight {

struct SinkWorkerOptions {
  std::string name;
  std::string type;
  std::array<bool, kSignalCount> signals{true, true};
  uint64_t queue_bytes = 64 << 20;  ///< of each signal
  std::array<WhenFull, kSignalCount> when_full{WhenFull::drop_oldest, WhenFull::drop_newest};
  uint64_t retry_initial_ns = kSecond;
  uint64_t retry_max_ns = 30 * kSecond;
  uint64_t retry_give_up_after_ns = 600 * kSecond;
  uint64_t seed = 0;           ///< of the jitter
  TransformOptions transform;  ///< what is changed before the sink sees it
  /// Asked around each call into the sink, whose length step() cannot know before.
  std::function<Now()> clock = read_clocks;
};

/// One sink's bounded queues, retry, counters and thread.  Its work is step(); the thread only
/// loops over it.
///
/// For each signal, at any moment: received = delivered + filtered + dropped (by reason) + queued.
/// The batch that is being written, or that waits to be tried again, is the oldest one of its queue
/// and stays there until its fate is known.  Signals take turns batch by batch, and each has a
/// retry of its own.
class SinkWorker {
 public:
  /// `log` must live longer than the worker.
  SinkWorker(std::unique_ptr<Sink> sink, SinkWorkerOptions options, const Logger& log);
  /// Joins the thread, however long the sink takes: after stop() has returned false, end the
  /// process.
  ~SinkWorker();
  SinkWorker(const SinkWorker&) = delete;
  SinkWorker& operator=(const SinkWorker&) = delete;

  /// Takes a batch over, or drops by policy.  Thread-safe, never blocks on the sink.
  void offer(std::shared_ptr<const Batch> batch) noexcept INSIGHT_EXCLUDES(mutex_);

  /// Does what is due now: opens, writes one batch, retries, calls idle.  Returns the monotonic
  /// time at which it wants to be called again at the latest (at once when something waits).  One
  /// thread only.
  uint64_t step(const Now& now) INSIGHT_EXCLUDES(mutex_);

  /// Starts the thread `sink:<name>`.
  void start();

  /// True when everything offered before this call was written or dropped, and the sink made it
  /// durable. False at the deadline.  Thread-safe; needs the thread.
  bool checkpoint(std::chrono::nanoseconds timeout) INSIGHT_EXCLUDES(mutex_);

  /// Lets the thread write what waits, then flush, close and end; the last fifth of the time is
  /// kept for that.  What is left over is counted `stopped`.  False when the sink hangs: then the
  /// thread is still inside of it.
  bool stop(std::chrono::nanoseconds timeout) INSIGHT_EXCLUDES(mutex_);

  SinkSnapshot snapshot() const INSIGHT_EXCLUDES(mutex_);  ///< Thread-safe.

  const std::string& name() const noexcept { return options_.name; }

  Sink& sink() noexcept { return *sink_; }

 private:
  /// The tries at the batch in flight.
  struct Attempts {
    Backoff backoff;
    uint64_t count = 0;
    uint64_t first_ns = 0;
    uint64_t next_ns = 0;
  };

  struct Checkpoint {
    std::array<uint64_t, kSignalCount> before{};  // numbers of batches
    bool is_written = false;
    bool is_durable = false;
  };

  void run();
  void drain();
  bool try_open();
  void call_idle(const Now& now);
  std::optional<size_t> next_signal(uint64_t mono_ns) INSIGHT_EXCLUDES(mutex_);
  void write_one(size_t signal) INSIGHT_EXCLUDES(mutex_);
  std::shared_ptr<const Batch> take(size_t signal) INSIGHT_EXCLUDES(mutex_);
  Delivery write_guarded(const Batch& batch);
  bool schedule_retry(const Batch& batch, std::string_view error, const Now& now);
  void finish(const Batch& batch, const Delivery& delivery, const Now& now)
      INSIGHT_EXCLUDES(mutex_);
  void drop_in_flight(size_t signal, Reason reason) INSIGHT_EXCLUDES(mutex_);
  void flush_for_checkpoints() INSIGHT_EXCLUDES(mutex_);
  bool flush_guarded();
  uint64_t next_due_ns() INSIGHT_REQUIRES(mutex_);
  bool has_written_checkpoint() INSIGHT_REQUIRES(mutex_);
  bool is_drained() INSIGHT_REQUIRES(mutex_);
  void drop_rest(SignalQueue::Removed& removed) INSIGHT_REQUIRES(mutex_);
  void set_up(bool is_up) INSIGHT_EXCLUDES(mutex_);
  void note_error(std::string_view what, std::string_view error, const Now& now)
      INSIGHT_EXCLUDES(mutex_);
  void log_overflow(const Now& now) INSIGHT_EXCLUDES(mutex_);

  // Constant after construction.
  const SinkWorkerOptions options_;
  const Logger& log_;
  const std::unique_ptr<Sink> sink_;

  // Thread-safe.
  DurationHistogram write_duration_;
  std::array<DurationHistogram, kSignalCount> delivery_latency_;

  // Worker thread only.
  std::optional<Transform> transform_;
  bool is_open_ = false;
  uint64_t open_at_ns_ = 0;
  uint64_t open_failures_ = 0;
  uint64_t idle_at_ns_ = 0;
  uint64_t flush_at_ns_ = 0;
  size_t turn_ = 0;                // the signal that is asked first
  bool has_told_failure_ = false;  // in the log, so that it also tells the end of it
  uint64_t overflow_logged_ = 0;
  Backoff open_backoff_;
  std::array<Attempts, kSignalCount> attempts_;
  LogLimit failure_limit_;
  LogLimit overflow_limit_;

  mutable Mutex mutex_;
  Condition changed_;
  std::array<SignalQueue, kSignalCount> queues_ INSIGHT_GUARDED_BY(mutex_);
  std::vector<Checkpoint*> checkpoints_ INSIGHT_GUARDED_BY(mutex_);
  bool has_opened_ INSIGHT_GUARDED_BY(mutex_) = false;
  bool is_up_ INSIGHT_GUARDED_BY(mutex_) = false;
  std::string last_error_ INSIGHT_GUARDED_BY(mutex_);
  uint64_t last_error_wall_ns_ INSIGHT_GUARDED_BY(mutex_) = 0;
  uint64_t last_success_wall_ns_ INSIGHT_GUARDED_BY(mutex_) = 0;
  uint64_t retries_ INSIGHT_GUARDED_BY(mutex_) = 0;
  bool is_stopping_ INSIGHT_GUARDED_BY(mutex_) = false;
  uint64_t drain_until_ns_ INSIGHT_GUARDED_BY(mutex_) = 0;
  bool has_ended_ INSIGHT_GUARDED_BY(mutex_) = false;

  std::jthread thread_;  // the last member: it is joined before the others go
};

}  // namespace insight
