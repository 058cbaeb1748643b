// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include <sys/types.h>

#include "bus/base/mutex.hpp"

namespace insight {

/// The body of an answer that goes on: one side writes when it has something, the http thread
/// sends it on.  Thread-safe.
///
/// Nothing here blocks or bounds what waits: the writer looks at waiting() and keeps to its limit.
class HttpStream {
 public:
  /// Adds text to what waits for the client; nothing happens when the stream is over.
  void write(std::string_view text) INSIGHT_EXCLUDES(mutex_);

  /// Bytes that the client has not taken yet, but for what the system holds.
  size_t waiting() const INSIGHT_EXCLUDES(mutex_);

  /// The answer is complete when what waits is sent.
  void end() INSIGHT_EXCLUDES(mutex_);

  /// Breaks the answer off: the client sees that it is not complete.
  void cut() INSIGHT_EXCLUDES(mutex_);

  /// False: it was cut, or the client has gone.
  bool is_open() const INSIGHT_EXCLUDES(mutex_);

  // For the server.

  /// What take() calls when nothing waits, and what the next call of the writer then calls once.
  /// Both are called under the stream's lock.
  void attach(std::function<void()> suspend, std::function<void()> resume) INSIGHT_EXCLUDES(mutex_);
  /// The client has gone, or has everything.
  void detach() noexcept INSIGHT_EXCLUDES(mutex_);

  static constexpr ssize_t kEnd = -1;
  static constexpr ssize_t kCut = -2;
  /// Moves what waits to `out`: its size, 0 when suspended, kEnd or kCut.
  ssize_t take(char* out, size_t size) INSIGHT_EXCLUDES(mutex_);

 private:
  void wake() INSIGHT_REQUIRES(mutex_);

  mutable Mutex mutex_;
  std::string text_ INSIGHT_GUARDED_BY(mutex_);
  size_t taken_ INSIGHT_GUARDED_BY(mutex_) = 0;  // of text_
  bool is_complete_ INSIGHT_GUARDED_BY(mutex_) = false;
  bool is_cut_ INSIGHT_GUARDED_BY(mutex_) = false;
  bool is_suspended_ INSIGHT_GUARDED_BY(mutex_) = false;
  std::function<void()> suspend_ INSIGHT_GUARDED_BY(mutex_);
  std::function<void()> resume_ INSIGHT_GUARDED_BY(mutex_);
};

}  // namespace insight
