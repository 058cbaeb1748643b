// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "bus/broker/config_node.hpp"
#include "bus/pipeline/sink_plugin.hpp"

namespace insight {

/// The errors of one configuration, and what strings in it may refer to.
struct ConfigErrors {
  std::string file;
  std::vector<ConfigError> all;

  void add(ConfigPlace place, std::string message) {
    all.push_back({file, place, std::move(message)});
  }
};

/// One table of a configuration file, read by the keys that it may have.  Thread-bound.
///
/// The constructor checks every value against its key's type, replaces `${ENV}` in strings, and
/// reports what is wrong; reading gives the value, or the preset where it is absent or wrong.
class ConfigTable final : public SinkConfig {
 public:
  /// `path`: "sinks.archive".  `node` may be null: no such table.  `state_directory` replaces
  /// "{state_dir}" in values of type path.
  ConfigTable(std::string path, const ConfigNode* node, std::vector<ConfigKey> keys,
              std::string state_directory, ConfigErrors& errors);

  std::string_view name() const override { return name_; }

  std::string text(std::string_view key) const override;
  uint64_t size_bytes(std::string_view key) const override;
  uint64_t duration_ns(std::string_view key) const override;
  int64_t integer(std::string_view key) const override;
  double number(std::string_view key) const override;
  bool flag(std::string_view key) const override;
  std::vector<std::string> texts(std::string_view key) const override;
  bool has(std::string_view key) const override;
  void wrong(std::string_view key, std::string_view expected) const override;

  /// What stands in a table of texts or of numbers, in the order of the file.
  const std::vector<ConfigNode::Member>& members(std::string_view key) const;
  static double number_of(const ConfigNode& node) noexcept;
  /// Reports something about one of them.
  void report_member(std::string_view key, std::string_view member,
                     const std::string& message) const;

  /// Reports something about a key (of `item`, when it is an array), or about the whole table when
  /// the key is empty or absent.
  void report(std::string_view key, std::string message, size_t item = SIZE_MAX) const;

  /// Every key in the order of the keys with what `known` says of it, else its value or default;
  /// those that have nothing are left out.
  ConfigNode resolved(const std::map<std::string_view, ConfigNode>& known = {}) const;

  /// Where the key's value stands, else the table.
  ConfigPlace place(std::string_view key, size_t item = SIZE_MAX) const;

 private:
  struct Value {
    ConfigNode node;
    uint64_t amount = 0;  // size, duration
    bool is_given = false;
  };

  void check_members(const ConfigNode& table, const std::string& prefix);
  bool check_value(const ConfigKey& key, Value& value);
  bool check_type(const ConfigKey& key, const ConfigNode& node);
  bool expand(ConfigNode& node, const std::string& key);
  void report_unknown(const std::string& key, const std::string& prefix, const ConfigNode& node);
  const Value& value(std::string_view key, std::string_view type) const;

  std::string path_;
  std::string name_;
  ConfigPlace place_;
  std::vector<ConfigKey> keys_;
  std::string state_directory_;
  ConfigErrors& errors_;
  std::map<std::string, Value, std::less<>> values_;
  std::set<std::string, std::less<>> refused_;  // keys whose value was wrong
};

/// How a value would be written, for messages: `"text"`, `12`, `true`, `a table`.
std::string show(const ConfigNode& node);

/// "; did you mean \"x\"?", or the list of what there is.
std::string suggest(std::string_view word, const std::vector<std::string_view>& candidates);

}  // namespace insight
