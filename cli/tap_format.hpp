// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "bus/base/result.hpp"

namespace insight::cli {

/// A template like '%t %p %n=%v'.  Value.
///
/// %t time (UTC), %T nanoseconds since 1970, %p publisher, %i incarnation, %n name, %k kind (or
/// span, begin, open, end), %l labels or attributes, %L lane, %v value (of a span: its seconds), %u
/// unit, %{key} a label, an attribute or a key of the resource, %% percent; \n \t \\.
class TapTemplate {
 public:
  /// An error names what is wrong.
  static Result<TapTemplate> parse(std::string_view text);

  /// One record (an object of a JSON line) as text, without '\n'.
  std::string format(const nlohmann::json& record) const;

 private:
  struct Part {
    char directive = 0;  // 0: `text` as it is; '{': the key `text`
    std::string text;
  };

  std::vector<Part> parts_;
};

/// One record for a person: "14:50:45.123 engine/node-1/4711 rl_steps_total{worker=w0} 42".
std::string readable_line(const nlohmann::json& record);

}  // namespace insight::cli
