// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "bus/model/batch.hpp"
#include "bus/model/reason.hpp"
#include "bus/pipeline/stats.hpp"

namespace insight {

/// What a full queue gives up.  Metrics are state, so the newest is worth most; of spans each one
/// is worth as much as the next, and keeping the oldest costs no work.
enum class WhenFull : uint8_t { drop_oldest, drop_newest };

/// The batches of one signal that wait for a sink, bounded in bytes, and what became of the others.
/// Value; the caller synchronises.
///
/// At any moment: received = delivered + filtered + dropped + records.  The batch in flight is the
/// oldest one and stays in the queue until finish(): no policy reaches it.
class SignalQueue {
 public:
  struct Entry {
    std::shared_ptr<const Batch> batch;
    uint64_t number = 0;  ///< counted from 0
    uint64_t bytes = 0;
    uint64_t records = 0;
  };

  using Removed = std::vector<Entry>;

  /// Takes a batch over, and then drops by policy what is above `max_bytes`.  What was dropped is
  /// moved to `removed`, for the caller to free outside of its lock.
  void offer(std::shared_ptr<const Batch> batch, uint64_t max_bytes, WhenFull when_full,
             Removed& removed);
  /// Counts a batch that is not taken any more.
  void refuse(const Batch& batch, Reason reason);

  /// The batch in flight, which is the oldest one that waits when there was none.  Null when empty.
  std::shared_ptr<const Batch> take();
  /// Ends what take() began: of the batch in flight the records in `dropped` were lost, so many
  /// `filtered` were not meant for the sink, the rest delivered.
  /// Nothing happens when drop_all() came in between.
  void finish(const ReasonArray& dropped, uint64_t filtered, Removed& removed);
  void drop_in_flight(Reason reason, Removed& removed);
  void drop_all(Reason reason, Removed& removed);

  bool is_empty() const noexcept { return !in_flight_ && waiting_.empty(); }

  bool has_in_flight() const noexcept { return in_flight_.has_value(); }

  /// True when no batch is left whose number is below `number`.
  bool is_done_before(uint64_t number) const noexcept;

  uint64_t next_number() const noexcept { return next_number_; }

  uint64_t bytes() const noexcept { return bytes_; }

  uint64_t records() const noexcept { return records_; }

  uint64_t received() const noexcept { return received_; }

  uint64_t delivered() const noexcept { return delivered_; }

  uint64_t filtered() const noexcept { return filtered_; }

  const ReasonArray& dropped() const noexcept { return dropped_; }

 private:
  void drop(Entry entry, Reason reason, Removed& removed);

  std::optional<Entry> in_flight_;
  std::deque<Entry> waiting_;
  uint64_t next_number_ = 0;
  uint64_t bytes_ = 0;
  uint64_t records_ = 0;
  uint64_t received_ = 0;
  uint64_t delivered_ = 0;
  uint64_t filtered_ = 0;
  ReasonArray dropped_{};
};

}  // namespace insight
