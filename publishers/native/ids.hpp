// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <span>

#include "bus/base/text.hpp"

namespace insight::native {

/// Random trace and span ids, never zero: xoshiro256++ with a seed from the kernel.  Thread-bound.
class Ids {
 public:
  Ids() noexcept { random_bytes(std::as_writable_bytes(std::span(state_))); }

  std::array<unsigned char, 16> trace_id() noexcept {
    std::array<unsigned char, 16> id;
    const uint64_t words[2] = {next(), next()};
    std::memcpy(id.data(), words, sizeof words);
    return id;
  }

  std::array<unsigned char, 8> span_id() noexcept {
    std::array<unsigned char, 8> id;
    const uint64_t word = next();
    std::memcpy(id.data(), &word, sizeof word);
    return id;
  }

 private:
  uint64_t next() noexcept {
    for (;;) {
      const uint64_t result = std::rotl(state_[0] + state_[3], 23) + state_[0];
      const uint64_t t = state_[1] << 17;
      state_[2] ^= state_[0];
      state_[3] ^= state_[1];
      state_[1] ^= state_[2];
      state_[0] ^= state_[3];
      state_[2] ^= t;
      state_[3] = std::rotl(state_[3], 45);
      if (result != 0) return result;
    }
  }

  std::array<uint64_t, 4> state_{};
};

}  // namespace insight::native
