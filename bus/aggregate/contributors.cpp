// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "bus/aggregate/aggregate_state.hpp"

namespace insight {

namespace {

/// Three beats, as the Ledger has it.
int64_t lost_after_ns(uint64_t every_ns) {
  return 3 * static_cast<int64_t>(std::min(every_ns, 86'400 * kSecond));
}

}  // namespace

void Tombstones::add(const IncarnationId& id, uint64_t wall_ns) {
  when_[id] = wall_ns;
  order_.emplace_back(wall_ns, id);
  while (when_.size() > kMax) drop_oldest();
}

bool Tombstones::remove(const IncarnationId& id) { return when_.erase(id) != 0; }

void Tombstones::drop_oldest() {
  const auto [wall_ns, id] = order_.front();
  order_.pop_front();
  const auto at = when_.find(id);
  if (at != when_.end() && at->second == wall_ns) when_.erase(at);
}

void Tombstones::expire(uint64_t wall_ns) {
  while (!order_.empty() && order_.front().first < wall_ns) drop_oldest();
}

std::vector<std::pair<uint64_t, IncarnationId>> Tombstones::oldest_first() const {
  std::vector<std::pair<uint64_t, IncarnationId>> rows;
  for (const auto& row : order_) {
    const auto at = when_.find(row.second);
    if (at != when_.end() && at->second == row.first) rows.push_back(row);
  }
  return rows;
}

AggregateState::AggregateState(const AggregateOptions& with, uint64_t hash_key)
    : options(with),
      families(
          with.reserved_metrics,
          {.series = with.series, .series_per_metric = with.series_per_metric, .bytes = with.bytes},
          hash_key) {}

Contributor& AggregateState::contributor(const std::shared_ptr<const Incarnation>& incarnation,
                                         const Now& now) {
  const auto [at, is_new] = contributors.try_emplace(incarnation->id);
  Contributor& contributor = at->second;
  if (is_new) {
    contributor.id = incarnation->id;
    contributor.is_resync = tombstones.remove(incarnation->id);
    if (contributor.is_resync) ++resyncs;
  }
  if (contributor.incarnation != incarnation) {
    // The Ledger had forgotten it, or this process was not there when it began: the numbers of the
    // old object's series belong to others soon.
    release(contributor);
    contributor.incarnation = incarnation;
    update_life(contributor, now);
  }
  return contributor;
}

void AggregateState::hear(const std::shared_ptr<const Incarnation>& incarnation, const Now& now) {
  if (contributors.contains(incarnation->id)) contributor(incarnation, now);
}

void AggregateState::release(Contributor& contributor) {
  for (uint32_t id : contributor.series) targets[id] = nullptr;
  contributor.series.clear();
  contributor.series.shrink_to_fit();
  contributor.has_refused = false;
  contributor.incarnation.reset();
}

void AggregateState::update_life(Contributor& contributor, const Now& now) {
  const auto mono_ns = static_cast<int64_t>(now.mono_ns);
  const Life before = contributor.life;
  if (contributor.incarnation != nullptr) {
    contributor.life = contributor.incarnation->life();
    contributor.since_ns = static_cast<int64_t>(contributor.incarnation->life_since_mono_ns());
    contributor.every_ns = contributor.incarnation->every_ns();
  } else if (before == Life::late &&
             mono_ns - contributor.since_ns >= lost_after_ns(contributor.every_ns)) {
    contributor.life = Life::lost;
    contributor.since_ns = mono_ns;
  }
  const bool lingers =
      contributor.life == Life::ended &&
      mono_ns - contributor.since_ns < static_cast<int64_t>(options.gauge_linger_ns);
  contributor.shows_gauges =
      contributor.life == Life::alive || contributor.life == Life::late || lingers;
  if (contributor.life != before) ++revision;
}

void AggregateState::update_lives(const Now& now) {
  for (auto& [id, contributor] : contributors) update_life(contributor, now);
}

void AggregateState::retire_and_expire(const Now& now) {
  const auto mono_ns = static_cast<int64_t>(now.mono_ns);
  for (auto at = contributors.begin(); at != contributors.end();) {
    Contributor& contributor = (at++)->second;  // retire() erases it
    if (contributor.life != Life::ended && contributor.life != Life::lost) continue;
    const int64_t age_ns = mono_ns - contributor.since_ns;
    if (age_ns >= static_cast<int64_t>(options.keep_ended_ns)) {
      retire(contributor, now.wall_ns);
    } else if (!contributor.shows_gauges && contributor.incarnation != nullptr) {
      // Its values are ours; the series that it was sent as are needed only when it comes back.
      release(contributor);
    }
  }
  if (families.bytes() > options.bytes / 10 * 9) retire_early(now.wall_ns);
  const uint64_t oldest_ns = now.wall_ns - std::min(now.wall_ns, options.keep_tombstones_ns);
  tombstones.expire(oldest_ns);
  families.expire(oldest_ns);

  if (families.generation() == retried_generation) return;
  retried_generation = families.generation();
  for (auto& [id, contributor] : contributors) {
    if (!contributor.has_refused) continue;
    contributor.has_refused = false;
    std::erase_if(contributor.series, [&](uint32_t series) {
      if (targets[series]->taking != Taking::refused) return false;
      targets[series] = nullptr;
      return true;
    });
  }
}

void AggregateState::retire_early(uint64_t wall_ns) {
  std::vector<Contributor*> gone;
  for (auto& [id, contributor] : contributors) {
    const bool is_gone = contributor.life == Life::ended || contributor.life == Life::lost;
    if (is_gone && !contributor.shows_gauges) gone.push_back(&contributor);
  }
  std::ranges::sort(gone, {}, &Contributor::since_ns);
  for (Contributor* contributor : gone) {
    if (families.bytes() <= options.bytes / 10 * 8) return;
    retire(*contributor, wall_ns);
  }
}

void AggregateState::retire(Contributor& contributor, uint64_t wall_ns) {
  bool had_totals = false;
  for (auto& [instrument, contribution] : contributor.contributions) {
    const Taking taking = contribution.taking;
    had_totals = had_totals || taking == Taking::counter || taking == Taking::histogram;
    fold_into_retired(contribution, wall_ns);
  }
  release(contributor);
  refusals.forget(contributor.id);
  if (had_totals) tombstones.add(contributor.id, wall_ns);
  contributors.erase(contributors.find(contributor.id));
  ++revision;
}

void AggregateState::fold_into_retired(Contribution& contribution, uint64_t wall_ns) {
  MergedSeries& merged = *contribution.merged;
  if (contribution.histogram != nullptr) {
    merged.own_extras().retired.add(contribution.histogram->value, contribution.histogram->base);
  } else if (contribution.taking != Taking::gauge) {
    merged.retired += contribution.value - contribution.base;
  }
  families.unlink(contribution, wall_ns);
}

}  // namespace insight
