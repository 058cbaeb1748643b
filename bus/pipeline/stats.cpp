// SPDX-License-Identifier: Apache-2.0
#include "bus/pipeline/stats.hpp"

namespace insight {

std::string_view to_string(LatencyMethod method) noexcept {
  switch (method) {
    case LatencyMethod::mono:
      return "mono";
    case LatencyMethod::estimated:
      return "estimated";
    case LatencyMethod::none:
      return "none";
  }
  return "none";
}

}  // namespace insight
