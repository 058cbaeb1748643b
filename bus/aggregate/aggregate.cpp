// SPDX-License-Identifier: Apache-2.0
#include "bus/aggregate/aggregate.hpp"

#include <algorithm>

#include "bus/aggregate/aggregate_state.hpp"
#include "bus/base/text.hpp"

namespace insight {

namespace {

Reason reason_of(Taken taken) noexcept {
  switch (taken) {
    case Taken::regress:
      return Reason::regress;
    case Taken::schema:
      return Reason::schema;
    default:
      return Reason::bad_value;
  }
}

/// Takes one point into its target.
Taken take(AggregateState& state, Target& target, const Point& point, bool& changed) {
  auto& to = static_cast<Contribution&>(target);
  switch (target.taking) {
    case Taking::counter:
      return take_counter(to, point.value, changed);
    case Taking::gauge:
      return take_gauge(to, point.value, state.arrivals, changed);
    case Taking::counter_delta:
      return take_counter_delta(to, point.value, changed);
    case Taking::histogram:
    case Taking::histogram_delta:
      return take_histogram(to, point, to.merged->family->bounds, changed);
    case Taking::refused:
      break;
  }
  return Taken::bad_value;
}

}  // namespace

Aggregate::Aggregate(AggregateOptions options)
    : options_(std::move(options)),
      state_(std::make_unique<AggregateState>(options_, random_key())) {}

Aggregate::~Aggregate() = default;

ReasonArray Aggregate::apply(const Batch& batch, const Now& now) {
  AggregateState& state = *state_;
  ReasonArray dropped{};
  if (batch.signal != Signal::metrics) return dropped;
  const auto now_s = static_cast<int32_t>(now.mono_ns / kSecond);
  bool changed = false;
  for (const Segment& segment : batch.segments) {
    if (segment.begin == segment.end) state.hear(segment.incarnation, now);
    for (size_t i = segment.begin; i < segment.end; ++i) {
      const Point& point = batch.points[i];
      const uint32_t id = point.series->id;
      Target* target = id < state.targets.size() ? state.targets[id] : nullptr;
      if (target == nullptr) {
        target = &state.resolve(point, segment.incarnation, now);
        changed = true;
      }
      if (target->taking == Taking::refused) {
        auto& refusal = static_cast<Refusal&>(*target);
        ++refusal.points;
        ++dropped[static_cast<size_t>(refusal.reason)];
        continue;
      }
      const Taken taken = take(state, *target, point, changed);
      auto& contribution = static_cast<Contribution&>(*target);
      contribution.heard_s = now_s;
      if (taken == Taken::yes) {
        if (point.exemplar != nullptr) state.families.keep(*contribution.merged, *point.exemplar);
        continue;
      }
      const Reason reason = reason_of(taken);
      const MergedFamily& family = *contribution.merged->family;
      ++state.refusals.entry(family.name, reason, family.publisher, *segment.incarnation).points;
      ++dropped[static_cast<size_t>(reason)];
    }
  }
  if (changed) ++state.revision;
  return dropped;
}

void Aggregate::step(const Now& now) {
  state_->update_lives(now);
  state_->retire_and_expire(now);
}

std::string Aggregate::render(const Now& now, Exposition exposition) {
  state_->update_lives(now);
  std::string out;
  render_state(*state_, now, exposition, out);
  return out;
}

std::string Aggregate::save(const Now& now) const { return save_state(*state_, now); }

Result<uint64_t> Aggregate::load(std::string_view bytes, const Now& now) {
  const auto fresh = [&](uint64_t key) {
    const uint64_t revision = state_->revision;
    state_ = std::make_unique<AggregateState>(options_, key);
    state_->revision = revision + 1;
  };
  const Result<uint64_t> key = snapshot_hash_key(bytes);
  fresh(key ? *key : random_key());
  if (!key) return key.error();
  Result<uint64_t> loaded = load_state(*state_, bytes, now);
  if (!loaded) fresh(random_key());
  return loaded;
}

MetricList Aggregate::list(const MetricQuery& query, const Now& now) {
  return list_state(*state_, query, now);
}

MetricAnswer Aggregate::explain(const std::string& name, const Now& now) {
  return explain_state(*state_, name, now);
}

uint64_t Aggregate::revision() const noexcept { return state_->revision; }

AggregateStatus Aggregate::status() const {
  AggregateStatus status;
  status.series = state_->families.live();
  status.dormant = state_->families.dormant();
  status.incarnations = state_->contributors.size();
  status.tombstones = state_->tombstones.size();
  status.resyncs = state_->resyncs;
  status.exemplars = state_->families.exemplars();
  status.exemplars_dropped = state_->families.exemplars_dropped();
  status.refusals = state_->refusals.snapshot();
  auto& largest = status.largest_metrics;
  for (const auto& [name, family] : state_->families.families()) {
    if (family.live != 0) largest.emplace_back(name, family.live);
  }
  const size_t top = std::min<size_t>(10, largest.size());
  std::ranges::partial_sort(largest, largest.begin() + static_cast<std::ptrdiff_t>(top),
                            [](const auto& a, const auto& b) { return a.second > b.second; });
  largest.resize(top);
  return status;
}

}  // namespace insight
