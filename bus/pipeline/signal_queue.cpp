// SPDX-License-Identifier: Apache-2.0
#include "bus/pipeline/signal_queue.hpp"

#include <cassert>
#include <numeric>
#include <utility>

namespace insight {

void SignalQueue::offer(std::shared_ptr<const Batch> batch, uint64_t max_bytes, WhenFull when_full,
                        Removed& removed) {
  Entry entry{.number = next_number_++, .bytes = batch->bytes(), .records = batch->records()};
  entry.batch = std::move(batch);
  received_ += entry.records;
  records_ += entry.records;
  bytes_ += entry.bytes;
  // What the batch in flight occupies cannot be freed: beyond the rest the new one goes by either
  // policy.
  const bool fits = entry.bytes + (in_flight_ ? in_flight_->bytes : 0) <= max_bytes;
  if (!fits || (when_full == WhenFull::drop_newest && bytes_ > max_bytes)) {
    drop(std::move(entry), Reason::queue_full, removed);
    return;
  }
  waiting_.push_back(std::move(entry));
  while (bytes_ > max_bytes) {
    Entry oldest = std::move(waiting_.front());
    waiting_.pop_front();
    drop(std::move(oldest), Reason::queue_full, removed);
  }
}

void SignalQueue::refuse(const Batch& batch, Reason reason) {
  received_ += batch.records();
  dropped_[static_cast<size_t>(reason)] += batch.records();
}

std::shared_ptr<const Batch> SignalQueue::take() {
  if (!in_flight_) {
    if (waiting_.empty()) return nullptr;
    in_flight_ = std::move(waiting_.front());
    waiting_.pop_front();
  }
  return in_flight_->batch;
}

void SignalQueue::finish(const ReasonArray& dropped, uint64_t filtered, Removed& removed) {
  if (!in_flight_) return;
  const uint64_t lost = std::accumulate(dropped.begin(), dropped.end(), uint64_t{0});
  assert(lost + filtered <= in_flight_->records);
  bytes_ -= in_flight_->bytes;
  records_ -= in_flight_->records;
  delivered_ += in_flight_->records - lost - filtered;
  filtered_ += filtered;
  for (size_t i = 0; i < kReasonCount; ++i) dropped_[i] += dropped[i];
  removed.push_back(*std::exchange(in_flight_, std::nullopt));
}

void SignalQueue::drop_in_flight(Reason reason, Removed& removed) {
  if (in_flight_) drop(*std::exchange(in_flight_, std::nullopt), reason, removed);
}

void SignalQueue::drop_all(Reason reason, Removed& removed) {
  drop_in_flight(reason, removed);
  for (Entry& entry : waiting_) drop(std::move(entry), reason, removed);
  waiting_.clear();
}

bool SignalQueue::is_done_before(uint64_t number) const noexcept {
  return (!in_flight_ || in_flight_->number >= number) &&
         (waiting_.empty() || waiting_.front().number >= number);
}

void SignalQueue::drop(Entry entry, Reason reason, Removed& removed) {
  bytes_ -= entry.bytes;
  records_ -= entry.records;
  dropped_[static_cast<size_t>(reason)] += entry.records;
  removed.push_back(std::move(entry));
}

}  // namespace insight
