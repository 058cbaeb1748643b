// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bus/base/arena.hpp"
#include "bus/base/result.hpp"
#include "bus/ledger/flat_index.hpp"
#include "bus/model/incarnation.hpp"
#include "bus/model/reason.hpp"
#include "bus/model/series.hpp"
#include "bus/pipeline/stats.hpp"

namespace insight {

struct SeriesLimits {
  uint64_t series = 1'000'000;
  uint64_t series_per_metric = 100'000;
  uint64_t series_per_publisher = 20'000;
  uint64_t bytes = 1 << 30;  ///< of families and label values: also few but huge ones are bounded
};

enum class SeriesLimit : uint8_t { series, series_per_metric, series_per_publisher, bytes };

/// All series of one metric's name, whatever their families.
struct Metric {
  std::string_view name;
  uint64_t families = 0;
  uint64_t series = 0;
  uint64_t gone_series = 0;      ///< of them, of incarnations that ended or were lost
  uint64_t overflow_series = 0;  ///< in which publishers sum up what is over their own limit
  IncarnationId overflow_publisher;
};

/// A family, decoded once for all incarnations that send the same bytes.
struct KnownFamily {
  std::shared_ptr<const Family> family;
  Metric* metric = nullptr;
  std::string bytes;
  uint64_t hash = 0;
  uint32_t position = 0;
  uint64_t uses = 0;  ///< its series, and whoever holds it
};

/// A series and what is known of its newest point, so that a late envelope never overwrites a newer
/// value and a refresh is told from a change.
struct KnownSeries {
  const Series* series = nullptr;
  const KnownFamily* family = nullptr;
  std::string_view labels;  ///< P([label values])
  uint64_t seq = 0;         ///< 0: no point yet
  uint64_t value_bits = 0;
  uint64_t time_ns = 0;
};

/// What the series of all publishers share: families, limits, and who is over them.  Pure;
/// thread-bound to its collector; outlives its PublisherSeries.
class SeriesTable {
 public:
  explicit SeriesTable(SeriesLimits limits);
  SeriesTable(const SeriesTable&) = delete;
  SeriesTable& operator=(const SeriesTable&) = delete;

  /// The family of these bytes; new ones are decoded.  Else bad_family or unknown_kind.  Give it
  /// back with release().
  Result<KnownFamily*, Reason> family(std::string_view bytes);
  /// Forgets the family when nobody holds it and no series came of it.
  void release(KnownFamily* family);

  /// True when there are series of gone incarnations in the way of a new one.
  bool is_held_by_gone(SeriesLimit limit, const KnownFamily& family) const noexcept;

  /// Points that were dropped because of a limit, for offenders().
  void note_refused(SeriesLimit limit, const KnownFamily& family, const IncarnationId& publisher,
                    uint64_t points);

  uint64_t series() const noexcept { return series_; }

  uint64_t bytes() const noexcept { return bytes_; }

  size_t families() const noexcept { return families_.size() - free_.size(); }

  const SeriesLimits& limits() const noexcept { return limits_; }

  /// Worst first.
  std::vector<CollectorStats::Offender> offenders(size_t at_most) const;
  /// Largest first.
  std::vector<std::pair<std::string, uint64_t>> largest_metrics(size_t at_most) const;

 private:
  friend class PublisherSeries;

  void count(const KnownSeries& series, bool is_gone) noexcept;
  void discount(const KnownSeries& series, bool is_gone);

  struct Refused {
    std::string metric;
    SeriesLimit limit = SeriesLimit::series;
    IncarnationId publisher;  ///< the last one
    uint64_t points = 0;
  };

  const SeriesLimits limits_;
  const uint64_t key_;  ///< of all hashes: nobody outside can construct collisions
  std::vector<std::unique_ptr<KnownFamily>> families_;
  std::vector<uint32_t> free_;  ///< positions in families_
  FlatIndex index_;
  std::map<std::string, Metric, std::less<>> metrics_;
  std::vector<Refused> refused_;
  uint64_t series_ = 0;
  uint64_t gone_series_ = 0;
  uint64_t bytes_ = 0;
};

/// Resolves family and label bytes of one incarnation to its series: a known one by comparing
/// bytes, found by position or by one keyed hash, without parsing or allocation.  Thread-bound as
/// its table.
class PublisherSeries {
 public:
  PublisherSeries(SeriesTable& table, std::shared_ptr<Incarnation> incarnation);
  ~PublisherSeries();
  PublisherSeries(const PublisherSeries&) = delete;
  PublisherSeries& operator=(const PublisherSeries&) = delete;

  /// Null when it is not known.  Valid until the next add().
  KnownSeries* find(const KnownFamily& family, std::string_view labels) noexcept;

  /// What became of add(): a series, a limit that it would break, or (neither) labels that are none
  /// of the family.
  struct Added {
    KnownSeries* series = nullptr;
    bool is_over_limit = false;
    SeriesLimit limit = SeriesLimit::series;
  };

  /// Adds a series that find() does not know.
  Added add(KnownFamily& family, std::string_view labels);

  /// Its incarnation has ended or was lost, or came back: only then its series make way for others.
  void set_gone(bool is_gone);

  size_t size() const noexcept { return known_.size(); }

 private:
  uint64_t hash(const KnownFamily& family, std::string_view labels) const noexcept;

  SeriesTable& table_;
  const std::shared_ptr<Incarnation> incarnation_;
  std::vector<KnownSeries> known_;
  FlatIndex index_;
  Arena labels_{512};
  size_t next_ = 0;
  bool is_gone_ = false;
};

}  // namespace insight
