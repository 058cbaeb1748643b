// SPDX-License-Identifier: Apache-2.0
#include "bus/broker/config_node.hpp"

#include <algorithm>
#include <sstream>
#include <tuple>

#include <toml++/toml.h>

namespace insight {

namespace {

ConfigPlace place_of(const toml::source_region& source) {
  return {source.begin.line, source.begin.column};
}

ConfigNode convert(const toml::node& node) {
  ConfigNode out;
  out.place = out.key_place = place_of(node.source());
  if (const toml::table* table = node.as_table()) {
    for (const auto& [key, value] : *table) {
      ConfigNode member = convert(value);
      member.key_place = place_of(key.source());
      out.members.push_back({std::string(key.str()), std::move(member)});
    }
    // toml++ sorts by name; people read errors and output in the order of their file.
    std::ranges::sort(out.members, {}, [](const auto& member) {
      return std::tuple(member.node.key_place.line, member.node.key_place.column, member.name);
    });
  } else if (const toml::array* array = node.as_array()) {
    out.kind = ConfigNode::Kind::array;
    for (const toml::node& item : *array) out.items.push_back(convert(item));
  } else if (const auto* text = node.as_string()) {
    out.kind = ConfigNode::Kind::text;
    out.text = text->get();
  } else if (const auto* integer = node.as_integer()) {
    out.kind = ConfigNode::Kind::integer;
    out.integer = integer->get();
  } else if (const auto* number = node.as_floating_point()) {
    out.kind = ConfigNode::Kind::number;
    out.number = number->get();
  } else if (const auto* flag = node.as_boolean()) {
    out.kind = ConfigNode::Kind::boolean;
    out.flag = flag->get();
  } else {
    out.kind = ConfigNode::Kind::time;
    std::ostringstream text_of_time;
    if (const auto* date = node.as_date()) text_of_time << date->get();
    if (const auto* time = node.as_time()) text_of_time << time->get();
    if (const auto* both = node.as_date_time()) text_of_time << both->get();
    out.text = text_of_time.str();
  }
  return out;
}

}  // namespace

std::string ConfigError::text() const {
  std::string out = file;
  if (place.line != 0) {
    out += ":" + std::to_string(place.line) + ":" + std::to_string(place.column);
  }
  return out + ": " + message;
}

const ConfigNode* ConfigNode::find(std::string_view key) const noexcept {
  for (const auto& [name, node] : members) {
    if (name == key) return &node;
  }
  return nullptr;
}

Result<ConfigNode, ConfigError> parse_toml(std::string_view text, std::string_view file) {
  try {
    return convert(toml::parse(text, file));
  } catch (const toml::parse_error& error) {
    return ConfigError{std::string(file), place_of(error.source()),
                       std::string(error.description())};
  }
}

}  // namespace insight
