// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <sys/types.h>

namespace insight::cli {

/// What processes took of the machine.  Value.
struct ProcessUsage {
  double user_seconds = 0;
  double system_seconds = 0;
  uint64_t resident_bytes = 0;  ///< now
};

/// Of a process and all below it, as /proc tells: with the time of those that have ended and were
/// waited for.  Zero when it has gone; looks at 4,096 processes at most.
ProcessUsage usage_of_tree(pid_t root);

}  // namespace insight::cli
