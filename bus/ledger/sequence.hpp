// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>

#include "bus/base/clock.hpp"

namespace insight {

/// The sum, or the largest number when it does not fit: hostile numbers must not make a counter
/// fall.
inline uint64_t add_capped(uint64_t a, uint64_t b) noexcept {
  return b > std::numeric_limits<uint64_t>::max() - a ? std::numeric_limits<uint64_t>::max()
                                                      : a + b;
}

/// Which numbers of one incarnation have come: the newest one, and of the 1,024 up to it those that
/// are missing. Value; pure.
///
/// A number that is missing for 5 s (or leaves the window before) is a gap and is counted once.  It
/// is taken all the same when it comes while it is still in the window.
class Sequence {
 public:
  enum class Arrival : uint8_t {
    fresh,      ///< newer than all before
    late,       ///< fills a hole
    duplicate,  ///< came before, or is too old to tell
  };

  static constexpr uint64_t kWindow = 1'024;
  static constexpr uint64_t kGapAfterNs = 5 * kSecond;

  /// Books one number in.  What came before the first number ever seen is not known to be lost: it
  /// is taken when it comes and never counted as a gap.
  Arrival arrive(uint64_t seq, uint64_t now_ns);

  /// Counts the holes that are old enough by now.
  void settle(uint64_t now_ns);

  /// All holes up to the newest number are no gaps: somebody else took them.
  void forgive() noexcept;

  /// When settle() has something to do: the time, or 0 for never.
  uint64_t settle_at_ns() const noexcept;

  uint64_t highest() const noexcept { return highest_; }

  uint64_t first() const noexcept { return first_; }

  uint64_t gaps() const noexcept { return gaps_; }

  bool is_missing(uint64_t seq) const noexcept;
  /// True when a hole below `seq` may still become a gap.
  bool is_open_below(uint64_t seq) const noexcept;

  /// The window as bytes and back, for a snapshot; empty when nothing is missing.
  std::string save_holes() const;
  /// False when the state is impossible.
  bool load(uint64_t first, uint64_t highest, uint64_t counted, uint64_t gaps,
            std::string_view holes, uint64_t now_ns);

  uint64_t counted() const noexcept { return holes_ ? holes_->counted : highest_; }

 private:
  // Holes that opened within half a second of each other share their age.
  static constexpr uint64_t kMarkNs = kSecond / 2;

  struct Mark {
    uint64_t upto = 0;  ///< holes up to this number
    uint64_t since_ns = 0;
  };

  // Only while something is missing: nearly all incarnations never lose an envelope.
  struct Holes {
    std::bitset<kWindow> missing;  ///< number n at n % kWindow
    size_t count = 0;
    uint64_t counted = 0;  ///< holes up to this number are gaps already, or none of ours
    std::array<Mark, 12> marks{};
    size_t mark_count = 0;
  };

  Holes& holes();
  void fill(uint64_t seq) noexcept;
  void leave_window(uint64_t seq) noexcept;

  uint64_t highest_ = 0;
  uint64_t first_ = 0;
  uint64_t gaps_ = 0;
  std::unique_ptr<Holes> holes_;
};

}  // namespace insight
