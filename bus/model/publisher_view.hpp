// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bus/model/incarnation.hpp"

namespace insight {

/// What the Ledger knows of one incarnation at one moment.  Value.
struct PublisherView {
  std::shared_ptr<const Incarnation> incarnation;
  Life life = Life::alive;
  uint64_t last_seen_wall_ns = 0;
  uint64_t last_seen_mono_ns = 0;
  uint64_t highest_seq = 0;
  uint64_t envelopes = 0;
  uint64_t points = 0;
  uint64_t spans = 0;
  uint64_t gaps = 0;        ///< envelopes that never came
  uint64_t duplicates = 0;  ///< envelopes that came again
  uint64_t late = 0;        ///< envelopes that came after a newer one
  uint64_t spans_lost = 0;  ///< sent by the publisher, not received; exact after bye
  size_t series = 0;
  std::map<std::string, uint64_t> accounts;  ///< the newest `acc` of the publisher
};

}  // namespace insight
