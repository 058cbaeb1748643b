// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace insight {

class Incarnation;

enum class Kind : uint8_t { counter, gauge, histogram, exphist };
enum class GaugeMode : uint8_t { last, sum, min, max, mean, each };

std::string_view to_string(Kind kind) noexcept;
std::string_view to_string(GaugeMode mode) noexcept;

/// One metric as its publisher declared it.  Value, shared and immutable.
struct Family {
  std::string name;
  Kind kind = Kind::counter;
  std::vector<std::string> label_keys;
  std::string unit;
  std::string help;
  bool delta = false;  ///< counter and histogram values are increments
  GaugeMode merge = GaugeMode::last;
  std::vector<double> bounds;  ///< histogram: ascending, finite upper bounds, inclusive
};

/// One (family, label values) of one incarnation.  Immutable; owned by its Incarnation, never
/// moves.
///
/// A batch pins its incarnations, so a point needs no reference count of its own: taking and giving
/// back one per point costs as much as decoding it.
struct Series {
  uint32_t id = 0;  ///< dense over all incarnations alive in the process; see SeriesIds
  const Incarnation* incarnation = nullptr;
  std::shared_ptr<const Family> family;
  std::span<const std::string_view>
      label_values;  ///< in the order of family->label_keys; in the incarnation's arena
  /// What its publisher sent, when a sink's table made this of it (then values are the table's).
  const Series* sent_as = nullptr;
};

}  // namespace insight
