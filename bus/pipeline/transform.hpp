// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bus/base/arena.hpp"
#include "bus/model/batch.hpp"

namespace insight {

/// What a sink's table changes before the sink sees it.  Names are those that publishers sent.
/// Value.
struct TransformOptions {
  std::vector<std::string> include;  ///< globs on names; empty: every name
  std::vector<std::string> exclude;  ///< globs; wins over include
  std::vector<std::pair<std::string, std::string>> rename;
  std::string prefix;                                       ///< of metrics, after rename
  std::vector<std::pair<std::string, std::string>> labels;  ///< of metrics; empty value: removed
  std::vector<std::pair<std::string, double>> scale;  ///< by glob; the first that matches; above 0

  bool is_empty() const noexcept {
    return include.empty() && exclude.empty() && rename.empty() && prefix.empty() &&
           labels.empty() && scale.empty();
  }
};

/// What became of a batch: records of `batch`, `filtered` and `unsupported` add up to those that
/// came.
struct Transformed {
  const Batch* batch = nullptr;  ///< the one that came when nothing is to be changed in it
  uint64_t filtered = 0;         ///< left out because the table says so
  uint64_t unsupported = 0;      ///< cannot be scaled without an error: an exponential histogram
};

/// A pure function Batch -> Batch, which remembers what it made of a series: the same one gives the
/// same one as long as its incarnation lives, and a known one costs a look into an array.
/// Thread-bound.
///
/// Scaled are: the value of a counter or gauge; of a histogram its sum, least, largest and bounds,
/// never its counts; the value of exemplars.  A unit that is no longer right becomes empty.  A
/// series that was made keeps the number and the incarnation of the one that it was made of, and
/// leads to it, so that two which become one still add up.
class Transform {
 public:
  explicit Transform(TransformOptions options);
  Transform(const Transform&) = delete;
  Transform& operator=(const Transform&) = delete;

  /// The result is valid until the next call and as long as `in` is.
  Transformed apply(const Batch& in);

  /// Incarnations that it remembers something of.
  size_t publishers() const noexcept { return publishers_.size(); }

 private:
  /// A label of a changed family: the one that was sent at this place, or a constant.
  struct Slot {
    size_t from = SIZE_MAX;
    std::string_view constant;
  };

  /// What becomes of a family.
  struct Rule {
    std::weak_ptr<const Family> source;
    std::shared_ptr<const Family> target;  // null: left out
    std::vector<Slot> slots;
    double factor = 1;
    bool is_same = false;
    bool is_unsupported = false;
  };

  /// What becomes of a series.
  struct Entry {
    uint64_t publisher = 0;          // whose it is; numbers of series are used again
    const Series* target = nullptr;  // null: left out
    double factor = 1;
    bool is_unsupported = false;
  };

  struct Publisher {
    std::weak_ptr<const Incarnation> incarnation;
    uint64_t number = 0;
    uint64_t hidden = 0;  // labels to be removed that its resource has, bit by bit
    std::deque<Series> series;
    Arena values{512};
  };

  Transformed apply_to_points(const Batch& in);
  Transformed apply_to_spans(const Batch& in);
  bool passes(std::string_view name) const;
  std::string_view renamed(std::string_view name) const;
  Publisher& publisher_of(const std::shared_ptr<const Incarnation>& incarnation);
  const Entry& entry_of(const Series& series, Publisher& publisher);
  Entry resolve(const Series& series, Publisher& publisher);
  const Rule& rule_of(const std::shared_ptr<const Family>& family, uint64_t hidden);
  Rule make_rule(const std::shared_ptr<const Family>& family, uint64_t hidden) const;
  void set_labels(const Family& source, uint64_t hidden, Family& target, Rule& rule) const;
  void set_segments(const Batch& in, const std::vector<size_t>& kept_before);
  bool add_point(const Point& point, const Entry& entry);

  // Constant after construction.
  const TransformOptions options_;

  std::unordered_map<const Incarnation*, Publisher> publishers_;
  std::map<std::pair<const Family*, uint64_t>, Rule> rules_;
  std::vector<Entry> entries_;  // by Series::id
  uint64_t next_publisher_ = 1;
  size_t sweep_publishers_at_ = 64;
  size_t sweep_rules_at_ = 64;
  Batch out_;
};

}  // namespace insight
