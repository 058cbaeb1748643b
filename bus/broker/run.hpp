// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "bus/base/log.hpp"
#include "bus/broker/config.hpp"

namespace insight {

/// Runs a broker until SIGTERM or SIGINT, in the foreground.  Call it from main before there are
/// other threads: it blocks signals, so that this thread alone takes them.
///
/// 0 stopped, also when a sink hung until the deadline (then the process is ended here); 1 it could
/// not start; 130 a second signal cut the stop short (ended here).
int run_broker(Config config, LogFormat format);

}  // namespace insight
