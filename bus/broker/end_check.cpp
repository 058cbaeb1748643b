// SPDX-License-Identifier: Apache-2.0
#include "bus/broker/end_check.hpp"

#include <algorithm>

#include <pthread.h>

#include "bus/base/clock.hpp"

namespace insight {

namespace {

using namespace std::chrono_literals;

constexpr auto kCheckpointTimeout = 2s;
constexpr auto kWait = 250ms;

}  // namespace

EndCheck::EndCheck(std::vector<SinkWorker*> workers)
    : workers_(std::move(workers)), thread_([this](const std::stop_token& stop) { run(stop); }) {}

bool EndCheck::checkpoint(const std::stop_token& stop) {
  for (SinkWorker* worker : workers_) {
    if (stop.stop_requested() || !worker->checkpoint(kCheckpointTimeout)) return false;
  }
  return true;
}

void EndCheck::run(const std::stop_token& stop) {
  pthread_setname_np(pthread_self(), "end_check");
  while (!stop.stop_requested()) {
    uint64_t round = 0;
    {
      const MutexLock lock(mutex_);
      round_started_ns_ = 0;
      if (requested_ == tried_) {
        changed_.wait_for(mutex_, kWait);
        continue;
      }
      round = requested_;
      round_started_ns_ = mono_now_ns();
    }
    const bool is_durable = checkpoint(stop);
    const MutexLock lock(mutex_);
    tried_ = round;
    if (is_durable) durable_ = round;
    changed_.notify();
  }
}

uint64_t EndCheck::ask(const std::vector<PublisherView>& views) {
  std::map<IncarnationId, uint64_t> asked;
  uint64_t newest = 0;
  for (const PublisherView& view : views) {
    if (view.life != Life::ended) continue;
    const auto known = asked_.find(view.incarnation->id);
    const uint64_t request = known != asked_.end() ? known->second : requested_ + 1;
    asked.emplace(view.incarnation->id, request);
    newest = std::max(newest, request);
  }
  asked_ = std::move(asked);  // what the Ledger has forgotten is forgotten here
  return newest;
}

void EndCheck::apply(std::vector<PublisherView>& views, std::chrono::milliseconds timeout) {
  const MutexLock lock(mutex_);
  const uint64_t newest = ask(views);
  if (newest > durable_) {
    const uint64_t now_ns = mono_now_ns();
    const auto timeout_ns = static_cast<uint64_t>(std::chrono::nanoseconds(timeout).count());
    const uint64_t request = ++requested_;
    // A sink that hangs is waited for once, not by each request.
    const bool is_overdue = round_started_ns_ != 0 && now_ns - round_started_ns_ > timeout_ns;
    changed_.notify();
    while (!is_overdue && tried_ < request && mono_now_ns() < now_ns + timeout_ns) {
      changed_.wait_for(mutex_, std::chrono::milliseconds(5));
    }
  }
  for (PublisherView& view : views) {
    if (view.life != Life::ended || asked_[view.incarnation->id] <= durable_) continue;
    const uint64_t silent_ns = mono_now_ns() - std::min(mono_now_ns(), view.last_seen_mono_ns);
    view.life = silent_ns > view.incarnation->every_ns() * 3 / 2 ? Life::late : Life::alive;
  }
}

}  // namespace insight
