// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "bus/base/clock.hpp"
#include "bus/base/mutex.hpp"
#include "bus/broker/tap_filter.hpp"
#include "bus/http/http_stream.hpp"
#include "bus/model/line_format.hpp"

namespace insight {

/// One look at live records: batches come in from collectors, JSON lines go out to a client.
///
/// It costs a collector a lock and a pointer for each batch, and only for as many records a second
/// as its budget allows; of the others it only counts that they were left out.  A client that is
/// slower than that leaves out more, also the rest of a batch; nothing grows without bound.
///
/// A line of type "tap" comes each second and at the end: `records` that came by since the tap was
/// opened (of the signal that was asked for), how many of them were `left_out` without a look, and
/// how many `sent`; all others were not asked for.
class Tap {
 public:
  Tap(TapQuery query, std::shared_ptr<HttpStream> stream, uint64_t mono_ns);

  /// Thread-safe; called by collectors.
  void offer(const std::shared_ptr<const Batch>& batch) noexcept INSIGHT_EXCLUDES(mutex_);

  /// Thread-safe: step() looks at nothing more and comes back soon.
  void stop() noexcept { is_stopped_.store(true, std::memory_order_relaxed); }

  struct Counts {
    uint64_t records = 0;
    uint64_t left_out = 0;
    uint64_t sent = 0;
    uint64_t other = 0;  ///< not asked for
  };

  /// Thread-safe.
  Counts counts() const INSIGHT_EXCLUDES(mutex_);

  // One thread only:

  enum class State : uint8_t {
    open,
    over,  ///< its client has what it asked for, or has gone
    slow   ///< cut, because its client did not take what waited
  };

  /// Looks at what came, hands on what was asked for, and fills the budget up.
  State step(const Now& now) INSIGHT_EXCLUDES(mutex_);

  /// Breaks the answer off.
  void cut() INSIGHT_EXCLUDES(mutex_);

  /// The last line, and the end of the answer.
  void end(uint64_t wall_ns) INSIGHT_EXCLUDES(mutex_);

 private:
  size_t look(const Batch& batch);
  template <typename Record>
  void look_at(const Segment& segment, const Record& record);

  bool has_all() const noexcept { return left_ == 0; }

  void leave_out_queue() INSIGHT_EXCLUDES(mutex_);
  void report(uint64_t wall_ns) INSIGHT_EXCLUDES(mutex_);
  bool is_slow(uint64_t mono_ns);
  void write();

  // Constant after construction.
  const std::optional<Signal> signal_;
  const std::shared_ptr<HttpStream> stream_;

  std::atomic<bool> is_stopped_{false};  // pairs with nothing: a record more does no harm

  mutable Mutex mutex_;
  std::deque<std::shared_ptr<const Batch>> queue_ INSIGHT_GUARDED_BY(mutex_);
  uint64_t queue_bytes_ INSIGHT_GUARDED_BY(mutex_) = 0;
  double budget_ INSIGHT_GUARDED_BY(mutex_);
  double price_ INSIGHT_GUARDED_BY(mutex_);  // of a record, as the last ones cost
  bool is_over_ INSIGHT_GUARDED_BY(mutex_) = false;
  Counts counts_ INSIGHT_GUARDED_BY(mutex_);

  // The thread of step() only.
  TapFilter filter_;
  LineFormat format_;
  std::string text_;
  uint64_t left_;      // records still to send
  uint64_t sent_ = 0;  // in this step
  bool has_begun_segment_ = false;
  uint64_t last_step_ns_;
  uint64_t next_report_ns_ = 0;
  uint64_t written_bytes_ = 0;
  uint64_t mark_bytes_ = 0;  // written_bytes_ at the last mark: to be taken by the next one
  uint64_t next_mark_ns_;
};

}  // namespace insight
