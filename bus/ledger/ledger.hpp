// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bus/base/clock.hpp"
#include "bus/model/incarnation.hpp"
#include "bus/model/publisher_view.hpp"
#include "bus/wire/decoder.hpp"

namespace insight {

struct LedgerOptions {
  size_t incarnations = 100'000;
  uint64_t forget_ended_after_ns = 3'600 * kSecond;  ///< also lost ones
};

/// Knows every incarnation: alive or ended, sequence numbers, gaps, losses.  It alone decides that
/// a publisher is late, lost or ended.  Pure; thread-bound to its collector.
class Ledger {
 public:
  /// What an envelope is to the Ledger.
  enum class Verdict : uint8_t {
    fresh,      ///< newer than all before
    late,       ///< fills a gap: it came after a newer one
    duplicate,  ///< came before; drop it whole
    refused,    ///< malformed resource, or no room for another incarnation
  };

  struct Entry;  ///< one incarnation; stays where it is until it is forgotten

  struct Receipt {
    Verdict verdict = Verdict::refused;
    Entry* entry = nullptr;  ///< null when refused
    std::shared_ptr<const Incarnation> incarnation;
  };

  Ledger(LedgerOptions options, std::shared_ptr<SeriesIds> ids);
  ~Ledger();

  /// Books an envelope in.
  Receipt receive(const wire::EnvelopeView& envelope, const Now& now);

  /// Moves incarnations on to late and lost, closes gaps that are older than 5 s, forgets.  Call it
  /// about once a second.
  void step(const Now& now);

  std::vector<PublisherView> publishers() const;

  // members, and what the collector needs besides: to be written
};

}  // namespace insight
