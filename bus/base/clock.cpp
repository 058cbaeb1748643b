// SPDX-License-Identifier: Apache-2.0
#include "bus/base/clock.hpp"

#include <ctime>
#include <fstream>
#include <string>

namespace insight {

namespace {

uint64_t read(clockid_t clock) noexcept {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<uint64_t>(t.tv_sec) * kSecond + static_cast<uint64_t>(t.tv_nsec);
}

}  // namespace

uint64_t wall_now_ns() noexcept { return read(CLOCK_REALTIME); }

uint64_t mono_now_ns() noexcept { return read(CLOCK_MONOTONIC); }

uint64_t process_cpu_ns() noexcept { return read(CLOCK_PROCESS_CPUTIME_ID); }

Now read_clocks() noexcept { return {wall_now_ns(), mono_now_ns()}; }

std::array<std::byte, 16> boot_id() noexcept {
  std::array<std::byte, 16> id{};
  try {
    std::string text;
    std::ifstream("/proc/sys/kernel/random/boot_id") >> text;
    size_t digits = 0;
    for (char c : text) {
      int value = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
      if (value < 0 || digits == 32) continue;
      id[digits / 2] |= static_cast<std::byte>(digits % 2 == 0 ? value << 4 : value);
      ++digits;
    }
    if (digits != 32) id.fill(std::byte{0});
  } catch (...) {
    id.fill(std::byte{0});
  }
  return id;
}

}  // namespace insight
