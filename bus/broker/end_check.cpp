// SPDX-License-Identifier: Apache-2.0
#include "bus/broker/end_check.hpp"

#include <algorithm>
#include <cstring>

#include <pthread.h>

#include "bus/base/clock.hpp"
#include "bus/base/file.hpp"

namespace insight {

namespace {

using namespace std::chrono_literals;

constexpr auto kCheckpointTimeout = 2s;
constexpr auto kWait = 250ms;

}  // namespace

EndCheck::EndCheck(std::vector<SinkWorker*> workers, std::string path, uint64_t start_mono_ns)
    : workers_(std::move(workers)), path_(std::move(path)), start_mono_ns_(start_mono_ns) {
  {
    const MutexLock lock(mutex_);
    load();
  }
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

void EndCheck::load() {
  if (path_.empty()) return;
  const Result<std::string> bytes = read_file(path_);
  if (!bytes) return;  // none yet; without it what ended before is shown as lost
  IncarnationId id;
  for (size_t at = 0; at + id.bytes.size() <= bytes->size(); at += id.bytes.size()) {
    std::memcpy(id.bytes.data(), bytes->data() + at, id.bytes.size());
    asked_.emplace(id, 0);
  }
}

std::string EndCheck::durable_ids(uint64_t round) {
  std::string ids;
  for (const auto& [id, request] : asked_) {
    if (request <= round) ids += id.view();
  }
  return ids;
}

bool EndCheck::save(const std::string& ids) const {
  return path_.empty() || !replace_file(path_, ids, Durability::process);
}

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
    bool is_durable = checkpoint(stop);
    std::string ids;
    {
      const MutexLock lock(mutex_);
      ids = durable_ids(round);
    }
    is_durable = is_durable && save(ids);
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
    if (known == asked_.end() && is_from_snapshot(view)) continue;
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
    if (view.life != Life::ended) continue;
    const auto asked = asked_.find(view.incarnation->id);
    if (asked == asked_.end()) {
      view.life = Life::lost;
      continue;
    }
    if (asked->second <= durable_) continue;
    const uint64_t silent_ns = mono_now_ns() - std::min(mono_now_ns(), view.last_seen_mono_ns);
    view.life = silent_ns > view.incarnation->every_ns() * 3 / 2 ? Life::late : Life::alive;
  }
}

void EndCheck::finish(const std::vector<PublisherView>& views) {
  std::string ids;
  {
    const MutexLock lock(mutex_);
    const uint64_t newest = ask(views);
    ids = durable_ids(newest);
  }
  // When it fails, what ended is shown as lost by the next broker: less than the truth, never more.
  (void)save(ids);
}

}  // namespace insight
