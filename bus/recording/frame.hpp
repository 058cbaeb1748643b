// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

/// Recorded envelopes: a file is one frame after the other and nothing else.
///
/// A frame is u32 LE length of the message, u32 LE crc32c of what follows, u64 LE receive time (ns
/// since 1970 UTC), the message.  There is no header, so that files may be put one behind the
/// other; the first frame's checksum and the `v` of its message tell a recording from other files.
namespace insight {

inline constexpr size_t kFrameHeadBytes = 16;

/// The CRC-32C (Castagnoli) of `bytes` that follow what has the checksum `before`.
uint32_t crc32c(std::string_view bytes, uint32_t before = 0) noexcept;

/// Appends one frame.  `message` is at most as long as an envelope may be.
void append_frame(uint64_t received_ns, std::string_view message, std::string& out);

/// What stands at the start of some bytes.
struct FrameView {
  /// short_of: cut off, or more bytes must be read.  wrong: this never was a frame, or it is
  /// damaged.
  enum class State : uint8_t { whole, short_of, wrong };

  State state = State::short_of;
  uint64_t received_ns = 0;
  std::string_view message;
  size_t bytes = 0;  ///< of the frame; 0 while its head is not there
};

FrameView read_frame(std::string_view bytes) noexcept;

}  // namespace insight
