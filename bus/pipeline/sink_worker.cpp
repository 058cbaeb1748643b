// SPDX-License-Identifier: Apache-2.0
#include "bus/pipeline/sink_worker.hpp"

#include <algorithm>
#include <cassert>
#include <exception>
#include <limits>
#include <numeric>
#include <utility>

#include <pthread.h>

#include "bus/base/text.hpp"

namespace insight {

namespace {

constexpr uint64_t kIdlePeriod = kSecond;
constexpr uint64_t kFlushRetry = kSecond;
constexpr uint64_t kLogPeriod = 10 * kSecond;
constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();

uint64_t later(uint64_t mono_ns, std::chrono::nanoseconds wait) {
  return mono_ns + static_cast<uint64_t>(std::max<int64_t>(0, wait.count()));
}

std::string in_words(uint64_t wait_ns) {
  return format_duration(wait_ns / kMillisecond * kMillisecond);
}

std::string describe(const Batch& batch) {
  return std::to_string(batch.records()) + " " +
         (batch.signal == Signal::metrics ? "points" : "spans");
}

/// Calls `work`; the sentence of what it threw, empty when it did not.
template <typename Work>
std::string failure_of(Work&& work) {
  try {
    work();
    return {};
  } catch (const std::exception& e) {
    return *e.what() == '\0' ? "unknown error" : e.what();
  } catch (...) {
    return "unknown error";
  }
}

}  // namespace

SinkWorker::SinkWorker(std::unique_ptr<Sink> sink, SinkWorkerOptions options, const Logger& log)
    : options_(std::move(options)),
      log_(log),
      sink_(std::move(sink)),
      open_backoff_(std::max(options_.retry_initial_ns, kMillisecond), options_.retry_max_ns,
                    options_.seed),
      attempts_{{{Backoff(std::max(options_.retry_initial_ns, kMillisecond), options_.retry_max_ns,
                          options_.seed + 1)},
                 {Backoff(std::max(options_.retry_initial_ns, kMillisecond), options_.retry_max_ns,
                          options_.seed + 2)}}},
      failure_limit_(kLogPeriod),
      overflow_limit_(kLogPeriod) {
  if (!options_.transform.is_empty()) transform_.emplace(options_.transform);
}

SinkWorker::~SinkWorker() {
  if (thread_.joinable()) {
    {
      const MutexLock lock(mutex_);
      if (!is_stopping_) drain_until_ns_ = 0;
      is_stopping_ = true;
      changed_.notify();
    }
    thread_.join();
  }
  sink_->close();
}

void SinkWorker::offer(std::shared_ptr<const Batch> batch) noexcept {
  const auto signal = static_cast<size_t>(batch->signal);
  if (!options_.signals[signal]) return;
  SignalQueue::Removed removed;  // freed after the lock: a batch can be large
  const MutexLock lock(mutex_);
  SignalQueue& queue = queues_[signal];
  if (is_stopping_) {
    queue.refuse(*batch, Reason::stopped);
    return;
  }
  // Otherwise the worker has work of this signal already, or waits for the time to try it again.
  const bool was_empty = queue.is_empty();
  queue.offer(std::move(batch), options_.queue_bytes, options_.when_full[signal], removed);
  if (was_empty) changed_.notify();
}

uint64_t SinkWorker::step(const Now& now) {
  log_overflow(now);
  if (!is_open_ && (now.mono_ns < open_at_ns_ || !try_open())) return open_at_ns_;
  if (now.mono_ns >= idle_at_ns_) call_idle(now);
  if (const std::optional<size_t> signal = next_signal(now.mono_ns)) write_one(*signal);
  if (now.mono_ns >= flush_at_ns_) flush_for_checkpoints();
  const MutexLock lock(mutex_);
  return next_due_ns();
}

bool SinkWorker::try_open() {
  if (open_failures_ > 0) {
    const MutexLock lock(mutex_);
    ++retries_;
  }
  const std::string error = failure_of([&] { sink_->open(); });
  const Now now = options_.clock();
  if (!error.empty()) {
    ++open_failures_;
    const uint64_t wait_ns = open_backoff_.next_ns();
    open_at_ns_ = now.mono_ns + wait_ns;
    note_error("cannot open, next try in " + in_words(wait_ns), error, now);
    return false;
  }
  if (std::exchange(has_told_failure_, false)) log_.info("sink " + options_.name + ": open");
  is_open_ = true;
  open_failures_ = 0;
  set_up(true);
  return true;
}

void SinkWorker::call_idle(const Now& now) {
  idle_at_ns_ = now.mono_ns + kIdlePeriod;
  const std::string error = failure_of([&] { sink_->idle(now); });
  if (!error.empty()) note_error("work in idle time failed", error, now);
}

std::optional<size_t> SinkWorker::next_signal(uint64_t mono_ns) {
  const MutexLock lock(mutex_);
  for (size_t i = 0; i < kSignalCount; ++i) {
    const size_t signal = (turn_ + i) % kSignalCount;
    if (queues_[signal].is_empty() || attempts_[signal].next_ns > mono_ns) continue;
    turn_ = (signal + 1) % kSignalCount;
    return signal;
  }
  return std::nullopt;
}

std::shared_ptr<const Batch> SinkWorker::take(size_t signal) {
  const MutexLock lock(mutex_);
  if (queues_[signal].has_in_flight()) ++retries_;
  return queues_[signal].take();
}

void SinkWorker::write_one(size_t signal) {
  const std::shared_ptr<const Batch> batch = take(signal);
  if (!batch) return;  // dropped by stop() in between
  Attempts& attempts = attempts_[signal];
  const Now before = options_.clock();
  if (attempts.count++ == 0) attempts.first_ns = before.mono_ns;

  const Delivery delivery = write_guarded(*batch);

  const Now now = options_.clock();
  write_duration_.observe_ns(now.mono_ns - before.mono_ns);
  const bool is_accepted = delivery.outcome == Delivery::Outcome::accepted;
  // While a batch of the other signal waits for its next try, one that went through is no sign of
  // health: on a full disk a few points still fit where a thousand spans do not.
  const bool others_wait = std::ranges::any_of(
      attempts_, [&](const Attempts& other) { return &other != &attempts && other.count > 0; });
  set_up(is_accepted && !others_wait);
  if (delivery.outcome == Delivery::Outcome::retry) {
    if (schedule_retry(*batch, delivery.error, now)) return;
    // The backend is still down: the next batch is tried at once, but the wait after it is not
    // shorter.
    drop_in_flight(signal, Reason::gave_up);
  } else {
    attempts.backoff.reset();
    if (is_accepted) {
      finish(*batch, delivery, now);
      if (!others_wait && std::exchange(has_told_failure_, false))
        log_.info("sink " + options_.name + ": accepts again");
    } else {
      note_error("rejected " + describe(*batch), delivery.error, now);
      drop_in_flight(signal, Reason::rejected);
    }
  }
  attempts.count = 0;
}

bool SinkWorker::schedule_retry(const Batch& batch, std::string_view error, const Now& now) {
  Attempts& attempts = attempts_[static_cast<size_t>(batch.signal)];
  const uint64_t give_up_ns = attempts.first_ns + options_.retry_give_up_after_ns;
  if (now.mono_ns >= give_up_ns) {
    note_error("gave up " + describe(batch), error, now);
    return false;
  }
  const uint64_t wait_ns = attempts.backoff.next_ns();
  attempts.next_ns = std::min(now.mono_ns + wait_ns, give_up_ns);
  note_error("cannot take " + describe(batch) + ", next try in " + in_words(wait_ns), error, now);
  return true;
}

Delivery SinkWorker::write_guarded(const Batch& batch) {
  Delivery delivery;
  std::string error = failure_of([&] {
    const Transformed given = transform_ ? transform_->apply(batch) : Transformed{.batch = &batch};
    delivery = sink_->write(*given.batch);
    delivery.filtered = given.filtered;
    delivery.dropped[static_cast<size_t>(Reason::unsupported)] += given.unsupported;
  });
  // The same batch would most likely throw again, and would hold up all that come after it.
  if (!error.empty()) return {.outcome = Delivery::Outcome::rejected, .error = std::move(error)};
  return delivery;
}

void SinkWorker::finish(const Batch& batch, const Delivery& delivery, const Now& now) {
  const auto signal = static_cast<size_t>(batch.signal);
  for (const Segment& segment : batch.segments) {
    if (segment.begin == segment.end) continue;
    const uint64_t since_ns = segment.oldest_ns != 0 ? segment.oldest_ns : segment.sent_ns;
    // Another host's clock may be ahead of ours.
    delivery_latency_[signal].observe_ns(now.wall_ns > since_ns ? now.wall_ns - since_ns : 0);
  }
  SignalQueue::Removed removed;
  const MutexLock lock(mutex_);
  last_success_wall_ns_ = now.wall_ns;
  queues_[signal].finish(delivery.dropped, delivery.filtered, removed);
}

void SinkWorker::drop_in_flight(size_t signal, Reason reason) {
  SignalQueue::Removed removed;
  const MutexLock lock(mutex_);
  queues_[signal].drop_in_flight(reason, removed);
}

void SinkWorker::flush_for_checkpoints() {
  {
    const MutexLock lock(mutex_);
    if (!has_written_checkpoint()) return;
  }
  if (!flush_guarded()) {
    flush_at_ns_ = options_.clock().mono_ns + kFlushRetry;
    return;
  }
  const MutexLock lock(mutex_);
  for (Checkpoint* checkpoint : checkpoints_) {
    if (checkpoint->is_written) checkpoint->is_durable = true;
  }
  changed_.notify();
}

bool SinkWorker::has_written_checkpoint() {
  bool any = false;
  for (Checkpoint* checkpoint : checkpoints_) {
    if (checkpoint->is_durable) continue;
    bool is_written = true;
    for (size_t i = 0; i < kSignalCount; ++i) {
      is_written = is_written && queues_[i].is_done_before(checkpoint->before[i]);
    }
    checkpoint->is_written = is_written;
    any = any || is_written;
  }
  return any;
}

bool SinkWorker::flush_guarded() {
  const std::string error = failure_of([&] { sink_->flush(); });
  if (!error.empty()) note_error("cannot flush", error, options_.clock());
  return error.empty();
}

uint64_t SinkWorker::next_due_ns() {
  if (!is_open_) return open_at_ns_;
  uint64_t due_ns = idle_at_ns_;
  for (size_t i = 0; i < kSignalCount; ++i) {
    if (!queues_[i].is_empty()) due_ns = std::min(due_ns, attempts_[i].next_ns);
  }
  return has_written_checkpoint() ? std::min(due_ns, flush_at_ns_) : due_ns;
}

void SinkWorker::note_error(std::string_view what, std::string_view error, const Now& now) {
  {
    const MutexLock lock(mutex_);
    last_error_ = error;
    last_error_wall_ns_ = now.wall_ns;
  }
  uint64_t held_back = 0;
  if (!failure_limit_.allows(now.mono_ns, held_back)) return;
  has_told_failure_ = true;
  std::string line = "sink " + options_.name + ": " + std::string(what) + ": " + std::string(error);
  if (held_back > 0) line += " (" + std::to_string(held_back) + " such lines held back)";
  log_.warn(line);
}

void SinkWorker::log_overflow(const Now& now) {
  uint64_t dropped = 0;
  {
    const MutexLock lock(mutex_);
    for (const SignalQueue& queue : queues_)
      dropped += queue.dropped()[static_cast<size_t>(Reason::queue_full)];
  }
  uint64_t held_back = 0;
  if (dropped == overflow_logged_ || !overflow_limit_.allows(now.mono_ns, held_back)) return;
  log_.warn("sink " + options_.name + ": queue full, " +
            std::to_string(dropped - overflow_logged_) + " records dropped");
  overflow_logged_ = dropped;
}

void SinkWorker::start() {
  thread_ = std::jthread([this] { run(); });
}

void SinkWorker::run() {
  const std::string thread_name = ("sink:" + options_.name).substr(0, 15);  // the kernel's limit
  pthread_setname_np(pthread_self(), thread_name.c_str());
  for (;;) {
    step(options_.clock());
    const MutexLock lock(mutex_);
    while (!is_stopping_) {
      const uint64_t due_ns = next_due_ns();
      const uint64_t now_ns = mono_now_ns();
      if (due_ns <= now_ns) break;
      changed_.wait_for(mutex_, std::chrono::nanoseconds(due_ns - now_ns));
    }
    if (is_stopping_) break;
  }
  drain();
}

void SinkWorker::drain() {
  // What waits for its next try gets one at once: the backend may be back.
  open_at_ns_ = 0;
  for (Attempts& attempts : attempts_) attempts.next_ns = 0;
  for (;;) {
    {
      const MutexLock lock(mutex_);
      if (is_drained()) break;
      idle_at_ns_ = kNever;
      const uint64_t due_ns = next_due_ns();
      const uint64_t now_ns = mono_now_ns();
      if (std::max(due_ns, now_ns) >= drain_until_ns_) break;
      if (due_ns > now_ns) changed_.wait_for(mutex_, std::chrono::nanoseconds(due_ns - now_ns));
    }
    step(options_.clock());
  }
  if (is_open_) flush_guarded();
  sink_->close();
  is_open_ = false;
  SignalQueue::Removed removed;
  const MutexLock lock(mutex_);
  is_up_ = false;
  drop_rest(removed);
  has_ended_ = true;
  changed_.notify();
}

bool SinkWorker::is_drained() {
  return std::all_of(queues_.begin(), queues_.end(),
                     [](const SignalQueue& q) { return q.is_empty(); });
}

void SinkWorker::drop_rest(SignalQueue::Removed& removed) {
  for (SignalQueue& queue : queues_) queue.drop_all(Reason::stopped, removed);
}

void SinkWorker::set_up(bool is_up) {
  const MutexLock lock(mutex_);
  is_up_ = is_up;
  has_opened_ = has_opened_ || is_up;
}

bool SinkWorker::stop(std::chrono::nanoseconds timeout) {
  const uint64_t start_ns = mono_now_ns();
  const uint64_t deadline_ns = later(start_ns, timeout);
  SignalQueue::Removed removed;
  const MutexLock lock(mutex_);
  if (!thread_.joinable()) has_ended_ = true;
  if (!is_stopping_) drain_until_ns_ = later(start_ns, timeout - timeout / 5);
  is_stopping_ = true;
  changed_.notify();
  while (!has_ended_) {
    const uint64_t now_ns = mono_now_ns();
    if (now_ns >= deadline_ns) break;
    changed_.wait_for(mutex_, std::chrono::nanoseconds(deadline_ns - now_ns));
  }
  drop_rest(removed);
  return has_ended_;
}

bool SinkWorker::checkpoint(std::chrono::nanoseconds timeout) {
  const uint64_t deadline_ns = later(mono_now_ns(), timeout);
  const MutexLock lock(mutex_);
  Checkpoint checkpoint;
  for (size_t i = 0; i < kSignalCount; ++i) checkpoint.before[i] = queues_[i].next_number();
  checkpoints_.push_back(&checkpoint);
  changed_.notify();
  while (!checkpoint.is_durable && !has_ended_) {
    const uint64_t now_ns = mono_now_ns();
    if (now_ns >= deadline_ns) break;
    changed_.wait_for(mutex_, std::chrono::nanoseconds(deadline_ns - now_ns));
  }
  std::erase(checkpoints_, &checkpoint);
  return checkpoint.is_durable;
}

SinkSnapshot SinkWorker::snapshot() const {
  SinkSnapshot result;
  result.name = options_.name;
  result.type = options_.type;
  result.queue_limit_bytes = options_.queue_bytes;
  result.write_duration = write_duration_.snapshot();
  for (size_t i = 0; i < kSignalCount; ++i)
    result.delivery_latency[i] = delivery_latency_[i].snapshot();
  SinkStatus status;
  failure_of([&] { status = sink_->status(); });
  result.refusals = std::move(status.refusals);
  result.problem = std::move(status.problem);
  result.figures = std::move(status.figures);

  const MutexLock lock(mutex_);
  for (size_t i = 0; i < kSignalCount; ++i) {
    const SignalQueue& queue = queues_[i];
    result.received[i] = queue.received();
    result.delivered[i] = queue.delivered();
    result.filtered[i] = queue.filtered();
    result.dropped[i] = queue.dropped();
    result.queue_records[i] = queue.records();
    result.queue_bytes[i] = queue.bytes();
  }
  result.has_opened = has_opened_;
  result.is_up = is_up_;
  result.last_error = last_error_;
  result.last_error_wall_ns = last_error_wall_ns_;
  result.last_success_wall_ns = last_success_wall_ns_;
  result.retries = retries_;
  return result;
}

}  // namespace insight
