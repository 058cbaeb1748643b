// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>

namespace insight {

/// Records of bytes from one thread to another, bounded in bytes.  One producer thread and one
/// consumer thread, neither ever waits.  Memory is touched only as far as it is used.
///
/// The consumer reads ahead with next() and gives room back with release(); rewind() makes it read
/// the same records again, so that what could not be handed on is not lost.
class SpscRing {
 public:
  /// `capacity` is rounded up to a power of two, at least 64.
  explicit SpscRing(size_t capacity)
      : capacity_(round_up(capacity)),
        bytes_(std::make_unique_for_overwrite<std::byte[]>(capacity_)) {}

  SpscRing(const SpscRing&) = delete;
  SpscRing& operator=(const SpscRing&) = delete;

  size_t capacity() const noexcept { return capacity_; }

  /// The longest record that an empty ring always takes.
  size_t max_record() const noexcept { return capacity_ / 2 - kHeader; }

  /// Producer: copies one record in.  False: no room, or longer than max_record(); nothing was
  /// taken.
  bool push(std::string_view record) noexcept {
    if (record.size() > max_record()) return false;
    const uint64_t write = write_.load(std::memory_order_relaxed);
    const size_t offset = write & (capacity_ - 1);
    const size_t need = padded(record.size());
    // A record lies in one piece: where it does not fit before the end, the rest is skipped.
    const size_t skip = offset + need > capacity_ ? capacity_ - offset : 0;
    if (write + skip + need - released_seen_ > capacity_) {
      released_seen_ = released_.load(std::memory_order_acquire);  // pairs with release()
      if (write + skip + need - released_seen_ > capacity_) return false;
    }
    if (skip != 0) store_length(offset, kSkip);
    const size_t at = skip == 0 ? offset : 0;
    store_length(at, static_cast<uint32_t>(record.size()));
    std::memcpy(&bytes_[at + kHeader], record.data(), record.size());
    write_.store(write + skip + need, std::memory_order_release);  // pairs with next()
    return true;
  }

  /// Bytes that wait for release().  Exact for the producer, a recent value for others.
  size_t used() const noexcept {
    const uint64_t released = released_.load(std::memory_order_acquire);
    return static_cast<size_t>(write_.load(std::memory_order_acquire) - released);
  }

  /// Consumer: the next record, valid until it is released.
  std::optional<std::string_view> next() noexcept {
    for (;;) {
      if (read_ == write_.load(std::memory_order_acquire))
        return std::nullopt;  // pairs with push()
      const size_t offset = read_ & (capacity_ - 1);
      uint32_t length;
      std::memcpy(&length, &bytes_[offset], sizeof length);
      if (length == kSkip) {
        read_ += capacity_ - offset;
        continue;
      }
      read_ += padded(length);
      return std::string_view(reinterpret_cast<const char*>(&bytes_[offset + kHeader]), length);
    }
  }

  /// Consumer: gives the room of everything read so far back.
  void release() noexcept {
    released_.store(read_, std::memory_order_release);
  }  // pairs with push()

  /// Consumer: reads again from what was released last.
  void rewind() noexcept { read_ = released_.load(std::memory_order_relaxed); }

 private:
  static constexpr size_t kHeader = 8;  // keeps records aligned; four bytes of length are used
  static constexpr uint32_t kSkip = 0xFFFF'FFFF;

  static constexpr size_t round_up(size_t capacity) noexcept {
    size_t power = 64;
    while (power < capacity) power *= 2;
    return power;
  }

  static constexpr size_t padded(size_t length) noexcept {
    return kHeader + (length + kHeader - 1) / kHeader * kHeader;
  }

  void store_length(size_t offset, uint32_t length) noexcept {
    std::memcpy(&bytes_[offset], &length, sizeof length);
  }

  // Constant after construction.
  const size_t capacity_;
  const std::unique_ptr<std::byte[]> bytes_;

  // Positions only grow; the place in the buffer is the position modulo its capacity.
  alignas(64) std::atomic<uint64_t> write_{0};
  uint64_t released_seen_ = 0;  // producer only
  alignas(64) std::atomic<uint64_t> released_{0};
  uint64_t read_ = 0;  // consumer only
};

}  // namespace insight
