// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <variant>

#include "bus/base/result.hpp"
#include "bus/model/incarnation.hpp"
#include "bus/model/reason.hpp"
#include "bus/model/series.hpp"

namespace insight {

struct SeriesLimits {
  uint64_t series = 1'000'000;
  uint64_t series_per_metric = 100'000;
  uint64_t series_per_publisher = 20'000;
};

/// Resolves family and label bytes of one incarnation to its Series: a known one by a keyed hash of
/// the bytes, without parsing them.  Pure; thread-bound to its collector.
///
/// Each known series keeps the sequence number and the value of its newest point, so that a late
/// envelope never overwrites a newer value and a refresh is told from a change.
class SeriesTable;

}  // namespace insight
