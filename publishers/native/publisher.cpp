// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdlib>
#include <exception>

#include "bus/base/clock.hpp"
#include "publishers/native/core.hpp"
#include <insight/insight.hpp>

namespace insight {

namespace {

using native::Core;
using native::Drop;
using native::Handle;
using native::Instrument;
using native::MetricTable;

const char* environment(const char* name) { return std::getenv(name); }

GaugeMode to_mode(Merge merge) {
  switch (merge) {
    case Merge::last:
      return GaugeMode::last;
    case Merge::sum:
      return GaugeMode::sum;
    case Merge::min:
      return GaugeMode::min;
    case Merge::max:
      return GaugeMode::max;
    case Merge::mean:
      return GaugeMode::mean;
    case Merge::each:
      return GaugeMode::each;
  }
  return GaugeMode::last;
}

Handle find_or_add(Core* core, const MetricTable::Request& request, const Labels& labels) noexcept {
  if (core == nullptr) return Handle();
  try {
    Instrument* instrument = core->find_or_add(request, labels);
    if (instrument == nullptr) return Handle();
    core->retain();
    return Handle(instrument);
  } catch (const std::exception&) {
    core->accounts.drops.add(Drop::memory);
    return Handle();
  }
}

}  // namespace

Publisher::Publisher(const PublisherOptions& options) noexcept {
  try {
    if (native::is_disabled(environment)) return;
    core_ = new Core(native::Process::instance(), native::settings_from(options, environment));
  } catch (const std::exception&) {
    core_ = nullptr;
  }
}

Publisher::~Publisher() {
  if (core_ == nullptr) return;
  core_->close(core_->exit_deadline());
  core_->release();
}

Publisher::Publisher(Publisher&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}

Publisher& Publisher::operator=(Publisher&& other) noexcept {
  std::swap(core_, other.core_);
  return *this;
}

Counter Publisher::counter(std::string_view name, std::string_view help,
                           const Labels& labels) noexcept {
  return Counter(find_or_add(core_, {.name = name, .kind = Kind::counter, .help = help}, labels));
}

Gauge Publisher::gauge(std::string_view name, std::string_view help, const Labels& labels,
                       Merge merge) noexcept {
  return Gauge(find_or_add(
      core_, {.name = name, .kind = Kind::gauge, .help = help, .merge = to_mode(merge)}, labels));
}

Histogram Publisher::histogram(std::string_view name, std::span<const double> bounds,
                               std::string_view help, const Labels& labels) noexcept {
  return Histogram(find_or_add(
      core_, {.name = name, .kind = Kind::histogram, .help = help, .bounds = bounds}, labels));
}

void Publisher::progress(std::string_view name, std::chrono::nanoseconds period) noexcept {
  if (core_ == nullptr) return;
  try {
    const Labels labels{{"name", std::string(name)}};
    gauge("insight_progress_timestamp_seconds", "When the loop ticked last", labels, Merge::max)
        .set(static_cast<double>(wall_now_ns()) * 1e-9);
    gauge("insight_progress_period_seconds", "How often the loop means to tick", labels, Merge::max)
        .set(std::chrono::duration<double>(period).count());
  } catch (const std::exception&) {
    core_->accounts.drops.add(Drop::memory);
  }
}

void Publisher::close(std::chrono::milliseconds deadline) noexcept {
  if (core_ == nullptr) return;
  core_->close(static_cast<uint64_t>(std::max<int64_t>(deadline.count(), 0)) * kMillisecond);
}

PublisherStatus Publisher::status() const noexcept {
  if (core_ == nullptr) return {};
  try {
    return core_->status();
  } catch (const std::exception&) {
    return {};
  }
}

}  // namespace insight
