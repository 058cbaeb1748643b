// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bus/aggregate/aggregate.hpp"
#include "bus/aggregate/contribution.hpp"
#include "bus/aggregate/family_table.hpp"
#include "bus/aggregate/refusals.hpp"

namespace insight {

/// Incarnations whose values were retired: when one of them comes back, its totals must not be
/// counted again.  Bounded: beyond, the oldest is forgotten.
class Tombstones {
 public:
  static constexpr size_t kMax = 100'000;

  void add(const IncarnationId& id, uint64_t wall_ns);
  /// True when there was one.
  bool remove(const IncarnationId& id);
  /// Forgets those that are older than `wall_ns`.
  void expire(uint64_t wall_ns);

  size_t size() const noexcept { return when_.size(); }

  std::vector<std::pair<uint64_t, IncarnationId>> oldest_first() const;

 private:
  void drop_oldest();

  std::unordered_map<IncarnationId, uint64_t, IncarnationIdHash> when_;
  /// Oldest first; a row that `when_` contradicts was removed meanwhile.
  std::deque<std::pair<uint64_t, IncarnationId>> order_;
};

/// Everything that an Aggregate knows.
struct AggregateState {
  AggregateState(const AggregateOptions& with, uint64_t hash_key);

  const AggregateOptions& options;
  FamilyTable families;
  std::unordered_map<IncarnationId, Contributor, IncarnationIdHash> contributors;
  Tombstones tombstones;
  RefusalList refusals;
  std::vector<Target*> targets;  ///< by Series::id; a cache: every entry can be found again
  uint64_t arrivals = 0;
  uint64_t resyncs = 0;
  uint64_t revision = 1;            ///< grows when a snapshot would be another one
  uint64_t retried_generation = 0;  ///< of `families`, when refused series were last tried again
  size_t rendered_bytes = 0;
  size_t saved_bytes = 0;

  // contributors.cpp
  /// The state of the incarnation of a segment, with the incarnation pinned.
  Contributor& contributor(const std::shared_ptr<const Incarnation>& incarnation, const Now& now);
  /// A life sign without records: reads the life of an incarnation that is known.
  void hear(const std::shared_ptr<const Incarnation>& incarnation, const Now& now);
  /// Forgets where its points go and gives the incarnation back; its values stay.
  void release(Contributor& contributor);
  void update_life(Contributor& contributor, const Now& now);
  void update_lives(const Now& now);
  void retire_and_expire(const Now& now);
  /// Memory gets scarce: retires those that have been gone longest before their time.
  void retire_early(uint64_t wall_ns);
  /// Adds its values to the totals of their series and forgets it but for a tombstone.
  void retire(Contributor& contributor, uint64_t wall_ns);
  /// Adds what a contribution has brought to the total of its series, and takes it out of there.
  void fold_into_retired(Contribution& contribution, uint64_t wall_ns);

  // resolve.cpp
  /// Where the points of a series go that has no target yet.
  Target& resolve(const Point& point, const std::shared_ptr<const Incarnation>& incarnation,
                  const Now& now);
  Target& find_target(const Point& point, Contributor& owner, uint64_t wall_ns);
};

/// snapshot.cpp
std::string save_state(AggregateState& state, const Now& now);
Result<uint64_t> load_state(AggregateState& state, std::string_view bytes, const Now& now);
/// The hash key that a snapshot was made with: it must be known before the state is made.
Result<uint64_t> snapshot_hash_key(std::string_view bytes);

/// listing.cpp
MetricList list_state(AggregateState& state, const MetricQuery& query, const Now& now);
MetricAnswer explain_state(AggregateState& state, const std::string& name, const Now& now);

/// render.cpp
void render_state(AggregateState& state, const Now& now, Exposition exposition, std::string& out);

}  // namespace insight
