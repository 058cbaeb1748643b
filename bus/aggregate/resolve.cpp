// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <utility>

#include "bus/aggregate/aggregate_state.hpp"
#include "bus/aggregate/merge_key.hpp"

namespace insight {

namespace {

Taking taking_of(const Family& family) noexcept {
  switch (family.kind) {
    case Kind::counter:
      return family.delta ? Taking::counter_delta : Taking::counter;
    case Kind::gauge:
      return Taking::gauge;
    default:
      return family.delta ? Taking::histogram_delta : Taking::histogram;
  }
}

/// The incarnation was retired before: what it has reached by now may be in the total already, so
/// only what comes on top counts.
void start_from_baseline(Contribution& contribution, const Point& point) {
  bool changed = false;
  if (contribution.taking == Taking::counter) {
    if (take_counter(contribution, point.value, changed) == Taken::yes) {
      contribution.base = contribution.value;
    }
  } else if (contribution.taking == Taking::histogram) {
    const std::vector<double>& bounds = contribution.merged->family->bounds;
    if (take_histogram(contribution, point, bounds, changed) == Taken::yes) {
      contribution.histogram->base = contribution.histogram->value;
    }
  }
}

/// A total counts since the first of its incarnations began.  What one counted before it was
/// retired is not counted anew, and the start of what an old snapshot holds is unknown.
void note_start(MergedSeries& series, const Contributor& owner, bool is_new, uint64_t wall_ns) {
  const uint64_t start = std::min(owner.incarnation->t0_ns, wall_ns) / kSecond;
  if (is_new || (start < series.created_s && !owner.is_resync)) {
    series.created_s = static_cast<uint32_t>(start);
  }
}

}  // namespace

Target& AggregateState::resolve(const Point& point,
                                const std::shared_ptr<const Incarnation>& incarnation,
                                const Now& now) {
  const Series& series = *point.series;
  Contributor& owner = contributor(incarnation, now);
  if (targets.size() <= series.id) targets.resize(series.id + 1);
  Target& target = find_target(point, owner, now.wall_ns);
  targets[series.id] = &target;
  owner.series.push_back(series.id);
  owner.has_refused = owner.has_refused || target.taking == Taking::refused;
  return target;
}

Target& AggregateState::find_target(const Point& point, Contributor& owner, uint64_t wall_ns) {
  const Series& series = *point.series;
  const Family& family = *series.family;
  const Incarnation& incarnation = *owner.incarnation;
  const auto refuse = [&](Reason reason, std::string_view first) -> Target& {
    return refusals.entry(family.name, reason, first, incarnation);
  };

  if (family.kind == Kind::exphist) return refuse(Reason::unsupported, {});
  const MergedFamily* holder = nullptr;
  bool is_schema = false;
  MergedFamily* merged_family = families.declare(family, incarnation, holder, is_schema);
  if (merged_family == nullptr) {
    return refuse(is_schema ? Reason::schema : Reason::conflict,
                  holder != nullptr ? std::string_view(holder->publisher) : "the bus itself");
  }

  std::string labels = label_text(series, incarnation.resource, options.resource_labels,
                                  reserved_label(merged_family->kind, merged_family->mode));
  const Taking taking = taking_of(family);
  // Two counters of one process that collapse into one series add up.  Of two gauges the newest
  // wins: a gauge that is shown for each publisher must not be shown twice for one.
  const uint64_t instrument =
      taking == Taking::gauge
          ? keyed_hash(labels, keyed_hash(merged_family->name, families.hash_key()))
          : instrument_hash(series, families.hash_key());
  const auto [merged, is_new] = families.find_or_add(*merged_family, std::move(labels));
  if (merged == nullptr) {
    Target& refusal = refuse(Reason::cardinality, merged_family->publisher);
    families.drop_if_empty(*merged_family);
    return refusal;
  }

  Contribution& contribution = owner.contributions[instrument];
  if (contribution.merged == merged && contribution.taking == taking) {
    if (contribution.histogram != nullptr) contribution.histogram->family = nullptr;
    return contribution;
  }
  // Another merge key than before the restart (the configuration was changed): what was counted
  // under the old one stays there.
  if (contribution.merged != nullptr) fold_into_retired(contribution, wall_ns);
  contribution = Contribution{};
  contribution.taking = taking;
  contribution.instrument = instrument;
  contribution.owner = &owner;
  families.link(*merged, contribution);
  if (taking != Taking::gauge) note_start(*merged, owner, is_new, wall_ns);
  if (merged_family->kind == Kind::histogram) {
    contribution.histogram = std::make_unique<HistogramPart>();
    contribution.histogram->value.buckets.resize(merged_family->bounds.size() + 1);
  }
  if (owner.is_resync && !is_new) start_from_baseline(contribution, point);
  return contribution;
}

}  // namespace insight
