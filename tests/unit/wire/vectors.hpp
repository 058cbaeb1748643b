// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "bus/wire/decoder.hpp"

/// The files of bus/wire/vectors, and what the decoder makes of a message in their form.
namespace insight::test {

inline constexpr uint64_t kNow = 1'767'225'600'000'000'000;

struct Vector {
  std::string name;
  std::string message;
  uint64_t now = kNow;
  nlohmann::json expect;
};

std::vector<Vector> load_vectors();

/// Reads everything in a message: the envelope, its resource, families, label values, points,
/// spans.
nlohmann::json observe(wire::Decoder& decoder, std::string_view message, uint64_t now);

}  // namespace insight::test
