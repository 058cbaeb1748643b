// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>

#include "bus/base/result.hpp"
#include "bus/recording/compression.hpp"

namespace insight {

/// Compresses one file at a time in a thread of its own, so that writing goes on.  Thread-bound but
/// for that.
///
/// The compressed file appears beside the plain one under its name when it is whole and on disk; a
/// kill leaves at most a `.tmp` file.
class CompressionJob {
 public:
  bool is_running() const noexcept { return thread_.joinable(); }

  /// Begins with `from`, which becomes `to`.  Only when nothing is running.  Throws
  /// std::system_error when there can be no thread.
  void start(std::string from, std::string to, Compression compression);

  /// The bytes of the compressed file, or what went wrong, once it has ended; nothing before.
  std::optional<Result<uint64_t>> take_result();

  /// Gives up what is running and waits for that.
  void cancel() noexcept;

 private:
  std::atomic<bool> has_ended_{false};  // the release store pairs with the load in take_result()
  std::optional<Result<uint64_t>> result_;
  std::jthread thread_;  // the last member: it is joined before the others go
};

}  // namespace insight
