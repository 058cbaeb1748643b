// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <vector>

#include "bus/aggregate/contribution.hpp"
#include "bus/model/incarnation.hpp"
#include "bus/model/reason.hpp"
#include "bus/pipeline/stats.hpp"

namespace insight {

/// Points of one metric that were not taken from one incarnation, for one reason.
struct Refusal : Target {
  std::string metric;
  Reason reason = Reason::conflict;
  std::string first;   ///< who declared the metric
  std::string second;  ///< whose points are not taken
  IncarnationId incarnation;
  uint64_t points = 0;
};

/// Who was refused, and why: the first 100 of them by name, the others only counted.  Entries stay
/// where they are until forget().  Value.
class RefusalList {
 public:
  static constexpr size_t kMax = 100;

  RefusalList();

  /// The entry for this refusal; one without names when the list is full.
  Refusal& entry(std::string_view metric, Reason reason, std::string_view first,
                 const Incarnation& second);

  /// Drops what an incarnation was refused: no target may lead there any more.
  void forget(const IncarnationId& incarnation);

  std::vector<SinkSnapshot::Refusal> snapshot() const;

 private:
  std::list<Refusal> named_;
  std::array<Refusal, kReasonCount> unnamed_;
};

}  // namespace insight
