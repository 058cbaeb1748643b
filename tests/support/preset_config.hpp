// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "bus/base/text.hpp"
#include "bus/pipeline/sink_plugin.hpp"

namespace insight::test {

/// A configuration table that holds the presets of a plugin, less what a test sets otherwise.
/// Throws std::logic_error when a sink reads a key that it does not list, or as another type.
class PresetConfig final : public SinkConfig {
 public:
  PresetConfig(const SinkPlugin& plugin, std::map<std::string, std::string> set = {})
      : name_(plugin.name), keys_(plugin.keys), set_(std::move(set)) {}

  std::string_view name() const override { return name_; }

  std::string text(std::string_view key) const override { return value(key, {"string", "path"}); }

  bool flag(std::string_view key) const override { return value(key, {"boolean"}) == "true"; }

  int64_t integer(std::string_view key) const override {
    return std::stoll(value(key, {"integer"}));
  }

  double number(std::string_view key) const override { return std::stod(value(key, {"number"})); }

  uint64_t size_bytes(std::string_view key) const override {
    uint64_t bytes = 0;
    if (!parse_size(value(key, {"size"}), bytes)) throw std::logic_error("bad size of a preset");
    return bytes;
  }

  uint64_t duration_ns(std::string_view key) const override {
    uint64_t ns = 0;
    if (!parse_duration(value(key, {"duration"}), ns))
      throw std::logic_error("bad duration of a preset");
    return ns;
  }

  std::vector<std::string> texts(std::string_view key) const override {
    const std::string one = value(key, {"strings"});
    return one.empty() || one == "[]" ? std::vector<std::string>{} : std::vector<std::string>{one};
  }

  bool has(std::string_view key) const override { return set_.contains(std::string(key)); }

  void wrong(std::string_view key, std::string_view) const override {
    wrong_keys.emplace_back(key);
  }

  void rename(std::string name) { name_ = std::move(name); }

  mutable std::vector<std::string> wrong_keys;

 private:
  std::string value(std::string_view key, const std::vector<std::string_view>& types) const {
    for (const ConfigKey& known : keys_) {
      if (known.name != key) continue;
      for (const std::string_view type : types) {
        if (known.type != type) continue;
        const auto at = set_.find(std::string(key));
        return at == set_.end() ? std::string(known.preset) : at->second;
      }
    }
    throw std::logic_error("a sink reads a key that it does not list: " + std::string(key));
  }

  std::string name_;
  std::span<const ConfigKey> keys_;
  std::map<std::string, std::string> set_;
};

}  // namespace insight::test
