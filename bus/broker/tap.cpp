// SPDX-License-Identifier: Apache-2.0
#include "bus/broker/tap.hpp"

#include <algorithm>
#include <limits>
#include <new>
#include <utility>

namespace insight {

namespace {

// The budget, in records that are looked at; to write a line costs as much as 2.5 looks, so a
// client gets up to 10,000 lines a second.  What a collector pays is the memory of a batch that is
// held until it was looked at, and not at hand for the next one: at 200,000 records a second it is
// one batch in eight, else it would be felt.
constexpr double kBudgetPerSecond = 25'000;
constexpr double kMostBudget = kBudgetPerSecond / 2;
constexpr double kPriceOfLine = 2.5;

constexpr uint64_t kMaxQueueBytes = 8 << 20;
constexpr size_t kMaxWaitingBytes = 256 << 10;  // for the client
constexpr uint64_t kReportEvery = kSecond;
// What waits for the client must be taken within twice this time; shorter than the silence that
// the HTTP server allows, so that it is counted here.
constexpr uint64_t kMarkEvery = 4 * kSecond;

}  // namespace

Tap::Tap(TapQuery query, std::shared_ptr<HttpStream> stream, uint64_t mono_ns)
    : signal_(query.signal),
      stream_(std::move(stream)),
      budget_(kMostBudget),
      price_(kPriceOfLine),
      filter_(std::move(query)),
      left_(filter_.query().count == 0 ? std::numeric_limits<uint64_t>::max()
                                       : filter_.query().count),
      last_step_ns_(mono_ns),
      next_mark_ns_(mono_ns + kMarkEvery) {}

void Tap::offer(const std::shared_ptr<const Batch>& batch) noexcept {
  if (signal_ && batch->signal != *signal_) return;
  const size_t records = batch->records();
  const MutexLock lock(mutex_);
  if (is_over_) return;
  counts_.records += records;
  if (budget_ > 0 && queue_bytes_ < kMaxQueueBytes) {
    try {
      queue_.push_back(batch);
      queue_bytes_ += batch->bytes();
      budget_ -= price_ * static_cast<double>(records);
      return;
    } catch (const std::bad_alloc&) {
      // It is left out like any other.
    }
  }
  counts_.left_out += records;
}

Tap::Counts Tap::counts() const {
  const MutexLock lock(mutex_);
  return counts_;
}

Tap::State Tap::step(const Now& now) {
  if (!stream_->is_open()) {
    leave_out_queue();
    return State::over;
  }
  if (is_slow(now.mono_ns)) {
    cut();
    return State::slow;
  }
  uint64_t looked = 0, left_out = 0;
  sent_ = 0;
  while (!has_all() && !is_stopped_.load(std::memory_order_relaxed) &&
         stream_->waiting() + text_.size() < kMaxWaitingBytes) {
    std::shared_ptr<const Batch> batch;
    {
      const MutexLock lock(mutex_);
      if (queue_.empty()) break;
      batch = std::move(queue_.front());
      queue_.pop_front();
      queue_bytes_ -= batch->bytes();
    }
    const size_t seen = look(*batch);
    looked += seen;
    left_out += batch->records() - seen;
    write();
  }
  const double seconds = static_cast<double>(now.mono_ns - last_step_ns_) * 1e-9;
  last_step_ns_ = now.mono_ns;
  {
    const MutexLock lock(mutex_);
    counts_.left_out += left_out;
    counts_.sent += sent_;
    counts_.other += looked - sent_;
    if (looked > 0) {
      price_ = 1 + (kPriceOfLine - 1) * static_cast<double>(sent_) / static_cast<double>(looked);
    }
    budget_ = std::min(budget_ + kBudgetPerSecond * seconds, kMostBudget);
  }
  if (has_all()) {
    end(now.wall_ns);
    return State::over;
  }
  if (now.mono_ns >= next_report_ns_) {
    next_report_ns_ = now.mono_ns + kReportEvery;
    report(now.wall_ns);
  }
  return State::open;
}

/// How many of its records were looked at: all, but for a rest that has no room or no time.
size_t Tap::look(const Batch& batch) {
  const size_t waiting = stream_->waiting();
  for (const Segment& segment : batch.segments) {
    if (!filter_.begin(segment)) continue;
    has_begun_segment_ = false;
    for (size_t i = segment.begin; i < segment.end && !has_all(); ++i) {
      if (waiting + text_.size() >= kMaxWaitingBytes) return i;
      if (is_stopped_.load(std::memory_order_relaxed)) return i;  // a glob may be slow
      if (batch.signal == Signal::metrics) {
        look_at(segment, batch.points[i]);
      } else {
        look_at(segment, batch.spans[i]);
      }
    }
  }
  return batch.records();
}

template <typename Record>
void Tap::look_at(const Segment& segment, const Record& record) {
  if (!filter_.matches(record)) return;
  if (!std::exchange(has_begun_segment_, true)) format_.begin(segment);
  format_.append(record, text_);
  ++sent_;
  --left_;
}

void Tap::report(uint64_t wall_ns) {
  const Counts counts = this->counts();
  text_ += R"({"type":"tap","ts_ns":)" + std::to_string(wall_ns) +
           ",\"records\":" + std::to_string(counts.records) +
           ",\"left_out\":" + std::to_string(counts.left_out) +
           ",\"sent\":" + std::to_string(counts.sent) + "}\n";
  write();
}

void Tap::write() {
  if (text_.empty()) return;
  stream_->write(text_);
  written_bytes_ += text_.size();
  text_.clear();
  if (text_.capacity() > 2 * kMaxWaitingBytes) text_.shrink_to_fit();  // a line may be huge
}

bool Tap::is_slow(uint64_t mono_ns) {
  if (mono_ns < next_mark_ns_) return false;
  next_mark_ns_ = mono_ns + kMarkEvery;
  return written_bytes_ - stream_->waiting() < std::exchange(mark_bytes_, written_bytes_);
}

/// Nothing is looked at from here on.
void Tap::leave_out_queue() {
  std::deque<std::shared_ptr<const Batch>> queue;  // to be freed without the lock
  const MutexLock lock(mutex_);
  is_over_ = true;
  queue.swap(queue_);
  queue_bytes_ = 0;
  uint64_t records = 0;
  for (const auto& batch : queue) records += batch->records();
  // Who has all that was asked for has not asked for what came after it.
  (has_all() ? counts_.other : counts_.left_out) += records;
}

void Tap::cut() {
  leave_out_queue();
  stream_->cut();
}

void Tap::end(uint64_t wall_ns) {
  leave_out_queue();
  report(wall_ns);
  stream_->end();
}

}  // namespace insight
