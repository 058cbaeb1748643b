// SPDX-License-Identifier: Apache-2.0
#include "bus/broker/taps.hpp"

#include <algorithm>
#include <chrono>
#include <new>
#include <system_error>
#include <utility>

#include <pthread.h>

#include "bus/base/clock.hpp"

namespace insight {

namespace {

using namespace std::chrono_literals;

// Often enough for an eye, seldom enough to cost nothing.
constexpr auto kStepEvery = 50ms;

void add(TapStats& to, const Tap::Counts& counts) {
  to.records += counts.records;
  to.left_out += counts.left_out;
  to.sent += counts.sent;
  to.other += counts.other;
}

}  // namespace

void Taps::receive(std::shared_ptr<const Batch> batch) noexcept {
  if (open_.load(std::memory_order_relaxed) != 0) offer(batch);
  next_.receive(std::move(batch));
}

void Taps::offer(const std::shared_ptr<const Batch>& batch) noexcept {
  const MutexLock lock(mutex_);
  for (const auto& tap : taps_) tap->offer(batch);
}

HttpResponse Taps::open(const HttpRequest& request) {
  Result<TapQuery> query = parse_tap_query(request.query);
  if (!query) return {.status = 400, .body = query.error().message + "\n"};
  auto stream = std::make_shared<HttpStream>();
  auto tap = std::make_shared<Tap>(std::move(*query), stream, mono_now_ns());
  const MutexLock lock(mutex_);
  if (is_stopping_) return {.status = 503, .body = "the broker stops\n"};
  if (taps_.size() == kMaxTaps) {
    ++ended_.refused;
    return {.status = 503,
            .body = std::to_string(kMaxTaps) + " taps are open, which is the limit; close one\n"};
  }
  if (!is_running_) {
    // The one before has left its last lock, so it is over in a moment.
    thread_ = std::jthread([this] { run(); });
    is_running_ = true;
  }
  taps_.push_back(std::move(tap));
  open_.store(taps_.size(), std::memory_order_relaxed);
  return {.content_type = "application/x-ndjson", .stream = std::move(stream)};
}

void Taps::run() {
  pthread_setname_np(pthread_self(), "taps");
  for (;;) {
    try {
      if (!step()) return;
    } catch (const std::bad_alloc&) {
      std::this_thread::sleep_for(kStepEvery);  // the next step may find memory again
    }
  }
}

Tap::State Taps::step(Tap& tap, const Now& now) {
  try {
    return tap.step(now);
  } catch (const std::bad_alloc&) {
    tap.cut();  // half a line may wait
    return Tap::State::over;
  }
}

/// False: nobody looks any more.
bool Taps::step() {
  std::vector<std::shared_ptr<Tap>> taps;
  {
    const MutexLock lock(mutex_);
    taps = taps_;
  }
  const Now now = read_clocks();
  uint64_t cut = 0;
  std::erase_if(taps, [&](const auto& tap) {
    const Tap::State state = step(*tap, now);
    if (state == Tap::State::slow) ++cut;
    return state == Tap::State::open;
  });
  const MutexLock lock(mutex_);
  ended_.cut += cut;
  for (const auto& tap : taps) forget(*tap);
  if (is_stopping_) {
    for (const auto& tap : std::exchange(taps_, {})) {
      tap->end(now.wall_ns);
      add(ended_, tap->counts());
    }
    open_.store(0, std::memory_order_relaxed);
  }
  is_running_ = !taps_.empty();
  if (is_running_) stopped_.wait_for(mutex_, kStepEvery);
  return is_running_;
}

void Taps::forget(const Tap& tap) {
  std::erase_if(taps_, [&tap](const auto& each) { return each.get() == &tap; });
  open_.store(taps_.size(), std::memory_order_relaxed);
  add(ended_, tap.counts());
}

void Taps::stop() noexcept {
  {
    const MutexLock lock(mutex_);
    is_stopping_ = true;
    for (const auto& tap : taps_) tap->stop();
    stopped_.notify();
  }
  if (thread_.joinable()) thread_.join();
}

TapStats Taps::stats() const {
  const MutexLock lock(mutex_);
  TapStats stats = ended_;
  for (const auto& tap : taps_) add(stats, tap->counts());
  stats.open = taps_.size();
  return stats;
}

}  // namespace insight
