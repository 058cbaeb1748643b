// SPDX-License-Identifier: Apache-2.0
#include "bus/metrics/status.hpp"

namespace insight {

std::string resource_text(const Incarnation& incarnation, std::string_view key) {
  const Scalar* scalar = incarnation.resource.find(key);
  return scalar != nullptr ? to_text(*scalar) : std::string();
}

std::string publisher_name(const Incarnation& incarnation) {
  std::string out;
  for (const char* key : {"service.name", "host.name", "process.pid"}) {
    const std::string text = resource_text(incarnation, key);
    if (text.empty()) continue;
    if (!out.empty()) out += '/';
    out += text;
  }
  return out;
}

}  // namespace insight
