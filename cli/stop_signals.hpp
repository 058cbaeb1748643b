// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <csignal>
#include <ctime>

namespace insight::cli {

/// Ctrl+C and its like, taken when asked for instead of whenever they come.  Made before there are
/// threads; children inherit that they are blocked.  Thread-bound.
class StopSignals {
 public:
  StopSignals() {
    sigemptyset(&set_);
    for (int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set_, number);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  }

  /// Waits; true when one came.
  bool wait_for(std::chrono::milliseconds time) const {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
    const timespec timeout{seconds.count(), (time - seconds).count() * 1'000'000};
    return sigtimedwait(&set_, nullptr, &timeout) > 0;
  }

 private:
  sigset_t set_{};
};

}  // namespace insight::cli
