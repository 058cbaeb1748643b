// SPDX-License-Identifier: Apache-2.0
#include "bus/broker/progress_watch.hpp"

#include <algorithm>
#include <cmath>

namespace insight {

namespace {

constexpr size_t kMaxTicks = 10'000;

std::string_view label(const Series& series, std::string_view key) {
  const auto& keys = series.family->label_keys;
  for (size_t i = 0; i < keys.size() && i < series.label_values.size(); ++i) {
    if (keys[i] == key) return series.label_values[i];
  }
  return {};
}

bool is_gone(Life life) { return life == Life::ended || life == Life::lost; }

}  // namespace

void ProgressWatch::receive(std::shared_ptr<const Batch> batch) noexcept {
  for (const Segment& segment : batch->segments) {
    if (batch->signal != Signal::metrics || !segment.incarnation->has_progress()) continue;
    for (size_t i = segment.begin; i < segment.end; ++i) {
      const Point& point = batch->points[i];
      if (point.series->family->name != kProgressMetric) continue;
      try {
        note(segment, point);
      } catch (...) {
        break;  // no memory: an age is missing, the batch goes on
      }
    }
  }
  next_.receive(std::move(batch));
}

void ProgressWatch::note(const Segment& segment, const Point& point) {
  if (!std::isfinite(point.value)) return;
  const MutexLock lock(mutex_);
  const Incarnation* incarnation = segment.incarnation.get();
  const std::string_view name = label(*point.series, "name");
  Watched& watched = watched_[incarnation];
  watched.incarnation = segment.incarnation;
  auto found = watched.ticks.find(name);
  if (found == watched.ticks.end()) {
    if (count_ >= kMaxTicks) return;
    found = watched.ticks.emplace(std::string(name), Tick{}).first;
    ++count_;
  }
  Tick& tick = found->second;
  if (point.value < tick.timestamp_seconds) return;  // an envelope that came late
  tick.timestamp_seconds = point.value;
  // Both times are of the publisher's clock, so it does not matter how far off that clock is.
  tick.age_seconds = std::max(0.0, static_cast<double>(segment.sent_ns) * 1e-9 - point.value);
  tick.received_mono_ns = segment.received_mono_ns;
}

std::vector<ProgressAge> ProgressWatch::ages(uint64_t mono_ns) {
  std::vector<ProgressAge> out;
  const MutexLock lock(mutex_);
  for (auto it = watched_.begin(); it != watched_.end();) {
    Watched& watched = it->second;
    if (is_gone(watched.incarnation->life())) {
      count_ -= watched.ticks.size();
      it = watched_.erase(it);
      continue;
    }
    for (const auto& [name, tick] : watched.ticks) {
      const uint64_t since = mono_ns - std::min(mono_ns, tick.received_mono_ns);
      out.push_back(
          {watched.incarnation, name, tick.age_seconds + static_cast<double>(since) * 1e-9});
    }
    ++it;
  }
  return out;
}

}  // namespace insight
