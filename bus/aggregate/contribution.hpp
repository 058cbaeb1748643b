// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "bus/model/batch.hpp"
#include "bus/model/incarnation.hpp"
#include "bus/model/reason.hpp"
#include "bus/model/series.hpp"

namespace insight {

struct MergedSeries;
struct Contributor;

/// "service/host/pid (0123abcd)": how a publisher is named to people; `?` for what it did not say.
std::string describe(const Incarnation& incarnation);

/// What is done with the points of one Series.
enum class Taking : uint8_t { counter, counter_delta, gauge, histogram, histogram_delta, refused };

/// Where the points of one Series go: a Contribution or a Refusal.  Found by the Series' number.
struct Target {
  Taking taking = Taking::refused;
};

/// The sum, or the largest number where that would turn over.
uint64_t add_bounded(uint64_t a, uint64_t b) noexcept;

/// Running sum and buckets (not cumulative; one more than the bounds).
struct HistogramTotals {
  double sum = 0;
  std::vector<uint64_t> buckets;

  /// Adds `other` less `base`.
  void add(const HistogramTotals& other, const HistogramTotals& base);
};

/// The histogram's share of a Contribution.
struct HistogramPart {
  HistogramTotals value;           ///< folded into the merged family's bounds
  HistogramTotals base;            ///< not counted; without buckets: nothing
  const Family* family = nullptr;  ///< whose bounds `fold` belongs to
  std::vector<uint16_t> fold;      ///< own bucket -> merged bucket; empty: they are the same
};

/// What one instrument of one incarnation adds to a merged series.
struct Contribution : Target {
  int32_t heard_s = 0;      ///< the newest point, on the broker's monotonic clock
  double value = 0;         ///< counter: total since the incarnation's start; gauge: the newest
  double base = 0;          ///< counter: how much of `value` is not counted
  uint64_t instrument = 0;  ///< its key in the owner's contributions
  uint64_t arrival = 0;     ///< gauge: orders the newest changes of all gauges
  MergedSeries* merged = nullptr;
  Contributor* owner = nullptr;
  Contribution* previous = nullptr;  ///< of the same merged series, in the order of their arrival
  Contribution* next = nullptr;
  std::unique_ptr<HistogramPart> histogram;
};

/// True when `bounds` contains every bound of `merged`; `fold` then says which merged bucket each
/// bucket goes to, and is empty when both are equal.
bool fold_bounds(const std::vector<double>& merged, const std::vector<double>& bounds,
                 std::vector<uint16_t>& fold);

/// Take the value of a point; nothing, or why it was not taken.  `changed` becomes true when the
/// contribution is another one now.
enum class Taken : uint8_t { yes, regress, bad_value, schema };
Taken take_counter(Contribution& to, double value, bool& changed) noexcept;
Taken take_counter_delta(Contribution& to, double value, bool& changed) noexcept;
Taken take_gauge(Contribution& to, double value, uint64_t& arrivals, bool& changed) noexcept;
Taken take_histogram(Contribution& to, const Point& point, const std::vector<double>& merged_bounds,
                     bool& changed);

/// One incarnation, as far as an Aggregate knows it.
struct Contributor {
  IncarnationId id;
  /// Null: restored from a snapshot and not heard since, or gone so long that only its values stay.
  std::shared_ptr<const Incarnation> incarnation;
  uint64_t every_ns = 0;
  Life life = Life::alive;
  int64_t since_ns = 0;  ///< of `life`, on the broker's monotonic clock; below 0: before its start
  bool shows_gauges = true;
  bool has_refused = false;  ///< some of its series have a Refusal as target
  bool is_resync = false;    ///< it came back after its values were retired
  /// By instrument; of a gauge by merged series.
  std::unordered_map<uint64_t, Contribution> contributions;
  uint32_t number = 0;           ///< scratch of the snapshot, and of lists
  std::vector<uint32_t> series;  ///< numbers of its Series that have a target
};

}  // namespace insight
