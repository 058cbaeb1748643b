// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace insight {

/// One moment on both clocks.  Value.  Pure code takes it as a parameter and never asks the system.
struct Now {
  uint64_t wall_ns = 0;  ///< nanoseconds since 1970 UTC
  uint64_t mono_ns = 0;  ///< CLOCK_MONOTONIC; every age and deadline is measured with it
};

/// Reads both clocks.  Thread-safe.
Now read_clocks() noexcept;
uint64_t wall_now_ns() noexcept;
uint64_t mono_now_ns() noexcept;
/// The processor time that all threads of this process took so far.
uint64_t process_cpu_ns() noexcept;

/// The kernel's boot id, all zero where the system does not tell.  Thread-safe.
std::array<std::byte, 16> boot_id() noexcept;

inline constexpr uint64_t kSecond = 1'000'000'000;
inline constexpr uint64_t kMillisecond = 1'000'000;

}  // namespace insight
