// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace insight {

/// Finds positions in somebody else's array by hash: open addressing in one flat block, eight bytes
/// a slot, at most three quarters full.  Value.
class FlatIndex {
 public:
  static constexpr uint32_t kNone = 0xFFFFFFFF;

  /// The position whose hash is `hash` and for which `is_it(position)` holds, else kNone.
  template <typename IsIt>
  uint32_t find(uint64_t hash, IsIt is_it) const {
    if (slots_.empty()) return kNone;
    const uint32_t tag = fold(hash);
    for (size_t at = tag & mask();; at = (at + 1) & mask()) {
      const Slot& slot = slots_[at];
      if (slot.position == kNone) return kNone;
      if (slot.tag == tag && is_it(slot.position)) return slot.position;
    }
  }

  void insert(uint64_t hash, uint32_t position) {
    if ((count_ + 1) * 4 > slots_.size() * 3) grow();
    put({fold(hash), position});
    ++count_;
  }

  /// Takes `position` out; it must be there under this hash.
  void erase(uint64_t hash, uint32_t position) {
    size_t hole = fold(hash) & mask();
    while (slots_[hole].position != position) hole = (hole + 1) & mask();
    // Those behind it move up, so that no search ends early at the hole.
    for (size_t at = (hole + 1) & mask(); slots_[at].position != kNone; at = (at + 1) & mask()) {
      const size_t home = slots_[at].tag & mask();
      if (((at - home) & mask()) < ((at - hole) & mask())) continue;
      slots_[hole] = slots_[at];
      hole = at;
    }
    slots_[hole] = {};
    --count_;
  }

  size_t bytes() const noexcept { return slots_.capacity() * sizeof(Slot); }

 private:
  struct Slot {
    uint32_t tag = 0;
    uint32_t position = kNone;
  };

  static uint32_t fold(uint64_t hash) noexcept { return static_cast<uint32_t>(hash ^ hash >> 32); }

  size_t mask() const noexcept { return slots_.size() - 1; }

  void put(Slot slot) {
    size_t at = slot.tag & mask();
    while (slots_[at].position != kNone) at = (at + 1) & mask();
    slots_[at] = slot;
  }

  void grow() {
    std::vector<Slot> old(slots_.empty() ? 8 : slots_.size() * 2);
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.position != kNone) put(slot);
    }
  }

  std::vector<Slot> slots_;
  size_t count_ = 0;
};

}  // namespace insight
