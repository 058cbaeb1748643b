// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bus/aggregate/contribution.hpp"
#include "bus/aggregate/exemplars.hpp"
#include "bus/base/text.hpp"
#include "bus/model/series.hpp"

namespace insight {

struct MergedFamily;

/// What few series have.
struct SeriesExtras {
  HistogramTotals retired;  ///< of a histogram; without buckets: nobody was retired
  Exemplars exemplars;
};

/// One exposed series: what retired incarnations left, and what the others contribute.
struct MergedSeries {
  MergedFamily* family = nullptr;
  const std::string* labels = nullptr;  ///< label_text, the key in the family
  Contribution* first = nullptr;
  Contribution* last = nullptr;
  double retired = 0;   ///< counter: sum of retired incarnations
  double exported = 0;  ///< the newest value (of a histogram: sum) that was rendered
  std::unique_ptr<SeriesExtras> extras;  ///< null: it has none
  uint64_t dormant_wall_ns = 0;          ///< since when nobody contributes; 0: somebody does
  uint32_t position = 0;                 ///< in MergedFamily::in_order
  uint32_t created_s = 0;  ///< since when the total counts, Unix time; 0: a gauge, or nobody knows

  SeriesExtras& own_extras() {
    if (extras == nullptr) extras = std::make_unique<SeriesExtras>();
    return *extras;
  }

  std::span<const Exemplars::Entry> exemplars() const noexcept {
    return extras == nullptr ? std::span<const Exemplars::Entry>() : extras->exemplars.entries();
  }
};

/// Label text comes from outside: without a key somebody could aim at one bucket of the table.
struct KeyedTextHash {
  using is_transparent = void;
  uint64_t key = 0;

  size_t operator()(std::string_view text) const noexcept { return keyed_hash(text, key); }
};

/// All series of one exposed name.
struct MergedFamily {
  std::string name;
  Kind kind = Kind::counter;
  GaugeMode mode = GaugeMode::last;
  std::string help;
  std::string unit;
  std::vector<double> bounds;
  std::vector<std::string> bucket_labels;  ///< `le="0.1"} `, the last one `le="+Inf"} `
  std::vector<std::string> open_metrics_bucket_labels;  ///< the same with `1.0` for `1`
  std::string publisher;                                ///< who declared it first
  std::vector<std::string> names;                       ///< that no other family may have
  size_t live = 0;                                      ///< series that somebody contributes to
  std::unordered_map<std::string, MergedSeries, KeyedTextHash, std::equal_to<>> series;
  /// About as they came, so that who visits them all walks through memory in its order.
  std::vector<MergedSeries*> in_order;
};

struct FamilyLimits {
  uint64_t series = 0;             ///< that somebody contributes to, and dormant ones
  uint64_t series_per_metric = 0;  ///< that somebody contributes to
  uint64_t bytes = 0;              ///< of series and contributions
};

/// The merged families and series: the first declaration of a name wins.  Value.
class FamilyTable {
 public:
  /// `reserved`: names that nobody else may use, nor those that are derived from them.
  FamilyTable(const std::vector<std::string>& reserved, const FamilyLimits& limits,
              uint64_t hash_key);

  /// The family for a declaration; null and `holder` (null: the bus itself) when another kind, or
  /// another family, has one of its names, or when its bounds do not fit (`is_schema`).
  /// A holder that nobody contributes to any more gives way.
  MergedFamily* declare(const Family& family, const Incarnation& publisher,
                        const MergedFamily*& holder, bool& is_schema);

  /// The family that has this name, as declared or as shown, and to which somebody contributes.
  const MergedFamily* find(const std::string& name) const;

  /// The series with these labels, and whether it is new; null beyond a limit.  The caller links a
  /// contribution to it.
  std::pair<MergedSeries*, bool> find_or_add(MergedFamily& family, std::string labels);

  /// Adds a contribution to a series.
  void link(MergedSeries& series, Contribution& contribution);

  /// Takes a contribution out.  Of the last one's series a gauge goes; the total of a counter or
  /// histogram stays for a while.
  void unlink(Contribution& contribution, uint64_t wall_ns);

  /// Keeps an exemplar of a counter or histogram for as long as somebody contributes to the series.
  /// One that has no place (memory is full, its value is no number) is counted.
  void keep(MergedSeries& series, const Exemplar& exemplar);

  /// Whether OpenMetrics can show a counter or histogram as such.  There, names that a family only
  /// might use (`x` and `x_created` of a counter `x_total`) are its own, and other families may
  /// have them here.
  bool has_own_names(const MergedFamily& family) const;

  /// Drops totals that are dormant since before `wall_ns`.
  void expire(uint64_t wall_ns);

  /// Drops the family when it has no series.
  void drop_if_empty(MergedFamily& family);

  /// Adds a family of a snapshot; only when none of its names is taken.
  bool can_restore(const MergedFamily& family) const;
  MergedFamily& restore(MergedFamily family);

  /// Adds a series of a snapshot; null when it is there already.
  MergedSeries* restore_series(MergedFamily& family, std::string labels, uint64_t dormant_wall_ns);

  std::map<std::string, MergedFamily, std::less<>>& families() noexcept { return families_; }

  uint64_t live() const noexcept { return live_; }

  uint64_t dormant() const noexcept { return dormant_.size(); }

  uint64_t exemplars() const noexcept { return exemplars_; }

  uint64_t exemplars_dropped() const noexcept { return exemplars_dropped_; }

  /// Bytes of memory, about.
  uint64_t bytes() const noexcept { return bytes_; }

  /// Grows with every unlink(): what was refused may be tried again.
  uint64_t generation() const noexcept { return generation_; }

  uint64_t hash_key() const noexcept { return hash_key_; }

 private:
  MergedFamily* add(const Family& family, const std::string& name, const Incarnation& publisher);
  const MergedFamily* other_holder(const MergedFamily* own, const std::string& name, bool& is_held);
  bool make_room(const MergedFamily& family, uint64_t bytes);
  MergedSeries* add_series(MergedFamily& family, std::string labels);
  void drop_exemplars(MergedSeries& series);
  bool is_held_by_another(const MergedFamily& family, const std::string& name) const;
  void erase(MergedSeries& series);
  void erase(MergedFamily& family);

  FamilyLimits limits_;
  uint64_t hash_key_;
  std::map<std::string, MergedFamily, std::less<>> families_;
  std::unordered_map<std::string, MergedFamily*> holders_;  ///< by name; null: the bus itself
  std::set<std::pair<uint64_t, MergedSeries*>> dormant_;    ///< longest first
  uint64_t live_ = 0;
  uint64_t bytes_ = 0;
  uint64_t exemplars_ = 0;
  uint64_t exemplars_dropped_ = 0;
  uint64_t generation_ = 0;
};

/// The other names of samples that a family of this kind has.
std::vector<std::string> derived_names(const std::string& name, Kind kind);

}  // namespace insight
