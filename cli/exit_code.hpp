// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace insight::cli {

/// What a command ended with; the same for all of them.
enum ExitCode : int {
  kDone = 0,
  kProblem = 1,       ///< it ran and found a problem
  kWrongUse = 2,      ///< or a wrong configuration
  kNoBroker = 3,      ///< none answers
  kInterrupted = 130  ///< a second signal cut the stop short
};

}  // namespace insight::cli
