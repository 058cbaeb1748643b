// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "bus/base/result.hpp"
#include "bus/recording/compression.hpp"

namespace insight {

struct RecordedEnvelope {
  uint64_t received_ns = 0;  ///< the recording broker's wall clock
  std::string_view message;
};

/// Reads a file of recorded envelopes, plain or compressed, one frame after the other.  Memory does
/// not grow with the file.  Thread-bound.
class RecordingReader {
 public:
  /// An error (with the path) when the file cannot be read, is no recording, or holds envelopes of
  /// a version that this program does not know.
  static Result<RecordingReader> open(const std::string& path);

  /// The same for what was opened; `path` is for errors only, which are then the content's.
  static Result<RecordingReader> open(ByteSource source, const std::string& path);

  /// The next whole frame, valid until the next call; nothing at the end, or where the file is
  /// damaged.
  std::optional<RecordedEnvelope> next();

  enum class State : uint8_t { whole, cut_off, damaged, unreadable };

  /// What follows the frames read so far, known when next() gave nothing: the end, a part of a
  /// frame, something else, or what the system could not read.
  State state() const noexcept { return state_; }

  /// What is wrong behind the whole frames: "cut off at byte 1234: 17 bytes are left over".  Empty
  /// when the file is whole.
  const std::string& damage() const noexcept { return damage_; }

  uint64_t frames() const noexcept { return frames_; }  ///< read so far

  /// Bytes of the whole frames read so far, as they are uncompressed.
  uint64_t bytes() const noexcept { return offset_; }

 private:
  explicit RecordingReader(ByteSource source) : source_(std::move(source)) {}

  void find_damage(bool is_wrong);

  ByteSource source_;
  std::string buffer_;
  size_t at_ = 0;  // of the next frame in buffer_
  uint64_t offset_ = 0;
  uint64_t frames_ = 0;
  bool has_ended_ = false;
  State state_ = State::whole;
  std::string damage_;
};

}  // namespace insight
