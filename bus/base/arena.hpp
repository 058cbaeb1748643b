// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

namespace insight {

/// Memory that is only given back as a whole; what it hands out never moves.  Thread-bound while it
/// is filled, read by any thread afterwards.
class Arena {
 public:
  explicit Arena(size_t chunk_bytes = 4096) : chunk_bytes_(chunk_bytes) {}

  /// Uninitialised room for `count` values of T.
  template <typename T>
  std::span<T> take(size_t count) {
    static_assert(std::is_trivially_destructible_v<T>, "an arena runs no destructors");
    return {reinterpret_cast<T*>(take_bytes(count * sizeof(T), alignof(T))), count};
  }

  std::string_view copy(std::string_view text) {
    std::span<char> room = take<char>(text.size());
    if (!text.empty()) std::memcpy(room.data(), text.data(), text.size());
    return {room.data(), room.size()};
  }

  template <typename T>
  std::span<const T> copy(std::span<const T> values) {
    std::span<T> room = take<T>(values.size());
    if (!values.empty()) std::memcpy(room.data(), values.data(), values.size_bytes());
    return room;
  }

  /// Bytes of memory that the arena holds.
  size_t bytes() const noexcept { return held_bytes_; }

 private:
  std::byte* take_bytes(size_t bytes, size_t alignment) {
    size_t start = (used_ + alignment - 1) / alignment * alignment;
    if (chunks_.empty() || start + bytes > size_) {
      size_ = bytes > chunk_bytes_ ? bytes : chunk_bytes_;
      chunks_.push_back(std::make_unique_for_overwrite<std::byte[]>(size_));
      held_bytes_ += size_;
      start = 0;
    }
    used_ = start + bytes;
    return chunks_.back().get() + start;
  }

  size_t chunk_bytes_;
  size_t size_ = 0;
  size_t used_ = 0;
  size_t held_bytes_ = 0;
  std::vector<std::unique_ptr<std::byte[]>> chunks_;
};

}  // namespace insight
