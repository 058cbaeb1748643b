// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "bus/base/clock.hpp"
#include "bus/model/incarnation.hpp"

namespace insight {

/// What becomes of a recorded envelope when it is sent again.  Value.
struct Rewrite {
  IncarnationId incarnation;
  uint64_t seq = 0;
  int64_t shift_ns = 0;   ///< added to every time inside: of points, spans, the start
  uint64_t every_ms = 0;  ///< 0: as it was
  Now sent;               ///< when it is sent again
  std::array<std::byte, 16> boot{};
};

/// Writes `message` anew into `out`; what it does not know stays as it is.  The relation of the
/// clocks and the way it came (`clk`, `via`) belong to the first time and are left out.  False when
/// it is no envelope that a decoder would take.
bool rewrite_envelope(std::string_view message, const Rewrite& with, std::string& out);

}  // namespace insight
