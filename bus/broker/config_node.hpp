// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bus/base/result.hpp"

namespace insight {

/// Where something stands in a file; 0 where there is no file.
struct ConfigPlace {
  uint32_t line = 0;
  uint32_t column = 0;
};

/// One thing that is wrong with a configuration.  Value.
struct ConfigError {
  std::string file;  ///< or "--listen" and the like
  ConfigPlace place;
  std::string message;

  /// "bus.toml:3:1: message".
  std::string text() const;
};

/// One value of a TOML file with its place.  Value.
struct ConfigNode {
  enum class Kind : uint8_t { table, array, text, integer, number, boolean, time };

  Kind kind = Kind::table;
  ConfigPlace place;      ///< of the value
  ConfigPlace key_place;  ///< of the key, of a table its header
  std::string text;       ///< text; of a time how it stands there
  std::string written;    ///< a text before `${ENV}` was replaced in it; empty: nothing was
  int64_t integer = 0;
  double number = 0;
  bool flag = false;
  struct Member;
  std::vector<Member> members;    ///< table, in the order of the file
  std::vector<ConfigNode> items;  ///< array

  /// Null when there is none.
  const ConfigNode* find(std::string_view key) const noexcept;
};

struct ConfigNode::Member {
  std::string name;
  ConfigNode node;
};

/// Reads TOML; of syntax errors the first.  toml++ stands behind it.
Result<ConfigNode, ConfigError> parse_toml(std::string_view text, std::string_view file);

}  // namespace insight
