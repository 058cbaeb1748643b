// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <sys/types.h>

#include "bus/base/result.hpp"
#include "cli/stop_signals.hpp"

namespace insight::cli {

/// A broker in a child process with a null sink, on an ipc socket and a free port, its state in a
/// temporary directory.  The destructor kills it and removes everything; it also ends when this
/// process is killed.  Thread-bound: the thread that makes it must outlive it.
class OwnBus {
 public:
  OwnBus() = default;
  ~OwnBus();
  OwnBus(const OwnBus&) = delete;
  OwnBus& operator=(const OwnBus&) = delete;

  /// Starts it and waits until it takes records; false when a signal came before.
  Result<bool> start(const StopSignals& signals);

  /// Asks it to stop and waits; false when a signal cut that short.
  bool stop(const StopSignals& signals);

  const std::string& http() const noexcept { return http_; }  ///< "127.0.0.1:40123"

  const std::string& endpoint() const noexcept { return endpoint_; }

 private:
  bool has_ended();
  std::string log() const;

  std::string directory_;
  std::string http_;
  std::string endpoint_;
  pid_t pid_ = 0;
};

}  // namespace insight::cli
