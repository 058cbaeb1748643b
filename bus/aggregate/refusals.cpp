// SPDX-License-Identifier: Apache-2.0
#include "bus/aggregate/refusals.hpp"

namespace insight {

RefusalList::RefusalList() {
  for (size_t i = 0; i < unnamed_.size(); ++i) unnamed_[i].reason = static_cast<Reason>(i);
}

Refusal& RefusalList::entry(std::string_view metric, Reason reason, std::string_view first,
                            const Incarnation& second) {
  for (Refusal& refusal : named_) {
    if (refusal.reason == reason && refusal.incarnation == second.id && refusal.metric == metric) {
      return refusal;
    }
  }
  if (named_.size() >= kMax) return unnamed_[static_cast<size_t>(reason)];
  Refusal& refusal = named_.emplace_back();
  refusal.metric = metric;
  refusal.reason = reason;
  refusal.first = first;
  refusal.second = describe(second);
  refusal.incarnation = second.id;
  return refusal;
}

void RefusalList::forget(const IncarnationId& incarnation) {
  named_.remove_if([&](const Refusal& refusal) { return refusal.incarnation == incarnation; });
}

std::vector<SinkSnapshot::Refusal> RefusalList::snapshot() const {
  std::vector<SinkSnapshot::Refusal> out;
  for (const Refusal& refusal : named_) {
    out.push_back({refusal.metric, refusal.reason, refusal.first, refusal.second, refusal.points});
  }
  for (const Refusal& refusal : unnamed_) {
    if (refusal.points != 0) out.push_back({"", refusal.reason, "", "", refusal.points});
  }
  return out;
}

}  // namespace insight
