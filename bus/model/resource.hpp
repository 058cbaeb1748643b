// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace insight {

using Scalar = std::variant<std::string, int64_t, uint64_t, double, bool>;

/// The text of a scalar as a label value: shortest form that reads back, true/false for a bool.
std::string to_text(const Scalar& scalar);

/// What describes a publisher: service.name, host.name, process.pid, run, role, rank, replica,
/// anything.  Value.
struct Resource {
  std::vector<std::pair<std::string, Scalar>> attributes;  ///< sorted by key, no key twice

  /// Null when there is none.
  const Scalar* find(std::string_view key) const noexcept;
};

}  // namespace insight
