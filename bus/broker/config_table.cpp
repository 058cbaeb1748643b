// SPDX-License-Identifier: Apache-2.0
#include "bus/broker/config_table.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <utility>

#include "bus/base/endpoint.hpp"
#include "bus/base/text.hpp"

namespace insight {

namespace {

struct TypeName {
  std::string_view type;
  std::string_view expected;
};

constexpr std::array<TypeName, 10> kTypes{{
    {"string", "a string"},
    {"path", "a path in quotes"},
    {"size", "a size such as \"64MiB\" (B, KiB, MiB, GiB)"},
    {"duration", "a duration such as \"5s\" (ns, us, ms, s, m, h, d)"},
    {"integer", "a whole number, 0 or more"},
    {"number", "a number"},
    {"boolean", "true or false"},
    {"strings", "an array of strings"},
    {"table of strings", "a table of strings"},
    {"table of numbers", "a table of numbers"},
}};

std::string_view expected_for(std::string_view type) {
  const auto found = std::ranges::find(kTypes, type, &TypeName::type);
  assert(found != kTypes.end());
  return found == kTypes.end() ? type : found->expected;
}

bool is_name_byte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/// `${NAME}` and `${NAME:-default}` replaced; says what is wrong otherwise.
Result<std::string> replace_environment(std::string_view text) {
  std::string out;
  while (true) {
    const size_t start = text.find("${");
    out += text.substr(0, start);
    if (start == std::string_view::npos) return out;
    const size_t end = text.find('}', start);
    if (end == std::string_view::npos) return Error{"\"${\" without \"}\""};
    const std::string_view inside = text.substr(start + 2, end - start - 2);
    const size_t colon = inside.find(":-");
    const std::string name(inside.substr(0, colon));
    if (name.empty() || !std::ranges::all_of(name, is_name_byte)) {
      return Error{"\"${" + name + "}\" does not name an environment variable"};
    }
    const char* value = std::getenv(name.c_str());
    if (colon != std::string_view::npos) {
      out +=
          value != nullptr && *value != '\0' ? std::string_view(value) : inside.substr(colon + 2);
    } else if (value != nullptr) {
      out += value;
    } else {
      return Error{"the environment variable " + name + " is not set; set it or write ${" + name +
                   ":-default}"};
    }
    text = text.substr(end + 1);
  }
}

void replace_all(std::string& text, std::string_view what, const std::string& by) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size()) {
    text.replace(at, what.size(), by);
  }
}

ConfigNode preset_node(const ConfigKey& key) {
  ConfigNode node;
  if (key.type.starts_with("table of ")) return node;
  if (key.type == "strings") {
    node.kind = ConfigNode::Kind::array;
    if (key.preset.empty()) return node;
    const auto parsed = parse_toml("preset = " + std::string(key.preset), "preset");
    assert(parsed);
    return *parsed->find("preset");
  }
  if (key.type == "boolean") {
    node.kind = ConfigNode::Kind::boolean;
    node.flag = key.preset == "true";
  } else if (key.type == "integer") {
    node.kind = ConfigNode::Kind::integer;
    std::from_chars(key.preset.data(), key.preset.data() + key.preset.size(), node.integer);
  } else if (key.type == "number") {
    node.kind = ConfigNode::Kind::number;
    std::from_chars(key.preset.data(), key.preset.data() + key.preset.size(), node.number);
  } else {
    node.kind = ConfigNode::Kind::text;
    node.text = key.preset;
  }
  return node;
}

}  // namespace

std::string show(const ConfigNode& node) {
  switch (node.kind) {
    case ConfigNode::Kind::table:
      return "a table";
    case ConfigNode::Kind::array:
      return "an array";
    case ConfigNode::Kind::text:
      return "\"" + node.text + "\"";
    case ConfigNode::Kind::integer:
      return std::to_string(node.integer);
    case ConfigNode::Kind::number: {
      std::array<char, 32> text{};
      const auto end = std::to_chars(text.data(), text.data() + text.size(), node.number).ptr;
      return {text.data(), end};
    }
    case ConfigNode::Kind::boolean:
      return node.flag ? "true" : "false";
    case ConfigNode::Kind::time:
      return node.text;
  }
  return {};
}

std::string suggest(std::string_view word, const std::vector<std::string_view>& candidates) {
  const std::string_view near = nearest(word, candidates);
  if (!near.empty()) return "; did you mean \"" + std::string(near) + "\"?";
  std::string known;
  for (std::string_view candidate : candidates) {
    known += (known.empty() ? "; known: " : ", ") + std::string(candidate);
  }
  return known;
}

ConfigTable::ConfigTable(std::string path, const ConfigNode* node, std::vector<ConfigKey> keys,
                         std::string state_directory, ConfigErrors& errors)
    : path_(std::move(path)),
      name_(path_.substr(path_.rfind('.') + 1)),
      keys_(std::move(keys)),
      state_directory_(std::move(state_directory)),
      errors_(errors) {
  if (node != nullptr) {
    place_ = node->key_place;
    if (node->kind == ConfigNode::Kind::table) {
      check_members(*node, "");
    } else {
      errors_.add(node->place, "expected a table [" + path_ + "], got " + show(*node));
    }
  }
  for (const ConfigKey& key : keys_) {
    if (values_.contains(key.name)) continue;
    Value preset{preset_node(key)};
    preset.node.place = place_;
    // Turns its text into an amount or an absolute path.  Only one error for each key.
    const auto before = static_cast<std::ptrdiff_t>(errors_.all.size());
    if (!key.preset.empty()) check_value(key, preset);
    if (refused_.contains(key.name))
      errors_.all.erase(errors_.all.begin() + before, errors_.all.end());
    values_.emplace(key.name, std::move(preset));
  }
}

void ConfigTable::check_members(const ConfigNode& table, const std::string& prefix) {
  for (const auto& [member, node] : table.members) {
    const std::string full = prefix + member;
    const auto key = std::ranges::find(keys_, std::string_view(full), &ConfigKey::name);
    if (key != keys_.end()) {
      Value value{node};
      value.is_given = true;
      if (check_value(*key, value)) {
        values_.emplace(full, std::move(value));
      } else {
        refused_.insert(full);
      }
      continue;
    }
    const bool has_inner = std::ranges::any_of(
        keys_, [&](const ConfigKey& k) { return k.name.starts_with(full + "."); });
    if (!has_inner) {
      report_unknown(member, prefix, node);
    } else if (node.kind != ConfigNode::Kind::table) {
      errors_.add(node.place, path_ + "." + full + ": expected a table, got " + show(node));
    } else {
      check_members(node, full + ".");
    }
  }
}

void ConfigTable::report_unknown(const std::string& member, const std::string& prefix,
                                 const ConfigNode& node) {
  std::set<std::string_view> here;
  for (const ConfigKey& key : keys_) {
    if (!key.name.starts_with(prefix)) continue;
    const std::string_view rest = key.name.substr(prefix.size());
    here.insert(rest.substr(0, rest.find('.')));
  }
  const std::string table =
      path_ + (prefix.empty() ? "" : "." + prefix.substr(0, prefix.size() - 1));
  errors_.add(node.key_place, "unknown key \"" + member + "\" in [" + table + "]" +
                                  suggest(member, {here.begin(), here.end()}));
}

bool ConfigTable::check_type(const ConfigKey& key, const ConfigNode& node) {
  using NodeKind = ConfigNode::Kind;
  const std::string where = path_ + "." + std::string(key.name) + ": expected ";
  const auto bad = [&](const ConfigNode& which) {
    errors_.add(which.place, where + std::string(expected_for(key.type)) + ", got " + show(which));
    return false;
  };
  if (key.type == "strings") {
    if (node.kind != NodeKind::array) return bad(node);
    for (const ConfigNode& item : node.items) {
      if (item.kind != NodeKind::text) return bad(item);
    }
    return true;
  }
  const auto is_number = [](const ConfigNode& each) {
    return each.kind == NodeKind::integer ||
           (each.kind == NodeKind::number && std::isfinite(each.number));
  };
  if (key.type.starts_with("table of ")) {
    if (node.kind != NodeKind::table) return bad(node);
    bool is_right = true;
    for (const auto& [name, each] : node.members) {
      const bool is_text = key.type == "table of strings";
      if (is_text ? each.kind == NodeKind::text : is_number(each)) continue;
      errors_.add(each.place, path_ + "." + std::string(key.name) + "." + name + ": expected " +
                                  (is_text ? "a string" : "a number") + ", got " + show(each));
      is_right = false;
    }
    return is_right;
  }
  if (key.type == "integer") {
    return node.kind == NodeKind::integer && node.integer >= 0 ? true : bad(node);
  }
  if (key.type == "number") return is_number(node) ? true : bad(node);
  if (key.type == "boolean") return node.kind == NodeKind::boolean ? true : bad(node);
  return node.kind == NodeKind::text ? true : bad(node);
}

bool ConfigTable::expand(ConfigNode& node, const std::string& key) {
  for (ConfigNode& item : node.items) {
    if (!expand(item, key)) return false;
  }
  for (auto& [name, member] : node.members) {
    if (!expand(member, key + "." + name)) return false;
  }
  if (node.kind != ConfigNode::Kind::text) return true;
  Result<std::string> text = replace_environment(node.text);
  if (!text) {
    errors_.add(node.place, path_ + "." + key + ": " + text.error().message);
    return false;
  }
  if (*text == node.text) return true;
  node.written = std::exchange(node.text, std::move(*text));
  return true;
}

bool ConfigTable::check_value(const ConfigKey& key, Value& value) {
  ConfigNode& node = value.node;
  if (!check_type(key, node) || !expand(node, std::string(key.name))) return false;
  const auto bad = [&](std::string_view expected) {
    errors_.add(node.place, path_ + "." + std::string(key.name) + ": expected " +
                                std::string(expected) + ", got " + show(node));
    return false;
  };
  if (key.type == "size" && !parse_size(node.text, value.amount)) {
    return bad(expected_for(key.type));
  }
  if (key.type == "duration" && !parse_duration(node.text, value.amount)) {
    return bad(expected_for(key.type));
  }
  if (key.type == "path") {
    if (node.text.empty()) return bad("a path in quotes");
    if (state_directory_.empty() && node.text.find("{state_dir}") != std::string::npos) {
      errors_.add(node.place, path_ + "." + std::string(key.name) +
                                  ": there is no {state_dir}: set HOME or broker.state_dir");
      return false;
    }
    replace_all(node.text, "{state_dir}", state_directory_);
    replace_all(node.text, "{runtime_dir}", runtime_directory());
    // Made absolute now: the working directory may be gone later.
    std::filesystem::path absolute = std::filesystem::path(state_directory_) / node.text;
    std::error_code error;
    if (absolute.is_relative()) absolute = std::filesystem::absolute(absolute, error);
    if (error) return bad("an absolute path, because there is no working directory");
    node.text = absolute.lexically_normal().string();
  }
  return true;
}

const ConfigTable::Value& ConfigTable::value(std::string_view key,
                                             [[maybe_unused]] std::string_view type) const {
  const auto found = values_.find(key);
  assert(found != values_.end() && "the key is not in the table of keys");
  return found->second;
}

std::string ConfigTable::text(std::string_view key) const { return value(key, "string").node.text; }

uint64_t ConfigTable::size_bytes(std::string_view key) const { return value(key, "size").amount; }

uint64_t ConfigTable::duration_ns(std::string_view key) const {
  return value(key, "duration").amount;
}

int64_t ConfigTable::integer(std::string_view key) const {
  return value(key, "integer").node.integer;
}

double ConfigTable::number(std::string_view key) const {
  return number_of(value(key, "number").node);
}

double ConfigTable::number_of(const ConfigNode& node) noexcept {
  return node.kind == ConfigNode::Kind::integer ? static_cast<double>(node.integer) : node.number;
}

const std::vector<ConfigNode::Member>& ConfigTable::members(std::string_view key) const {
  return value(key, "table").node.members;
}

bool ConfigTable::flag(std::string_view key) const { return value(key, "boolean").node.flag; }

std::vector<std::string> ConfigTable::texts(std::string_view key) const {
  std::vector<std::string> out;
  for (const ConfigNode& item : value(key, "strings").node.items) out.push_back(item.text);
  return out;
}

bool ConfigTable::has(std::string_view key) const {
  const auto found = values_.find(key);
  return found != values_.end() && found->second.is_given;
}

ConfigNode ConfigTable::resolved(const std::map<std::string_view, ConfigNode>& known) const {
  ConfigNode table;
  for (const ConfigKey& key : keys_) {
    const auto better = known.find(key.name);
    const auto found = values_.find(key.name);
    if (better != known.end()) {
      table.members.push_back({std::string(key.name), better->second});
    } else if (found != values_.end() && (found->second.is_given || !key.preset.empty())) {
      table.members.push_back({std::string(key.name), found->second.node});
    }
  }
  return table;
}

ConfigPlace ConfigTable::place(std::string_view key, size_t item) const {
  const auto found = values_.find(key);
  if (found == values_.end() || !found->second.is_given) return place_;
  const ConfigNode& node = found->second.node;
  return item < node.items.size() ? node.items[item].place : node.place;
}

void ConfigTable::report(std::string_view key, std::string message, size_t item) const {
  errors_.add(place(key, item),
              path_ + (key.empty() ? "" : "." + std::string(key)) + ": " + std::move(message));
}

void ConfigTable::report_member(std::string_view key, std::string_view member,
                                const std::string& message) const {
  const ConfigNode* node = value(key, "table").node.find(member);
  errors_.add(node != nullptr ? node->place : place(key),
              path_ + "." + std::string(key) + "." + std::string(member) + ": " + message);
}

void ConfigTable::wrong(std::string_view key, std::string_view expected) const {
  const auto found = values_.find(key);
  std::string message = "expected " + std::string(expected);
  if (found != values_.end() && found->second.is_given)
    message += ", got " + show(found->second.node);
  report(key, std::move(message));
}

}  // namespace insight
